"""The paper's claims on tasks other than image classification, with their evidence."""
