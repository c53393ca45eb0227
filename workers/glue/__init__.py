"""Fine-tuning on GLUE: its texts, ALBERT, pre-trained weights, and the training of `workers.tasks.glue`."""
