BEGIN TRANSACTION;
CREATE TABLE checkpoints (
	"key" VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	saved_at_ms INTEGER NOT NULL, pruned_ms INTEGER, 
	PRIMARY KEY ("key")
);
INSERT INTO "checkpoints" VALUES('01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317',1,1795894067558,NULL);
INSERT INTO "checkpoints" VALUES('94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f',2,1795894067899,NULL);
INSERT INTO "checkpoints" VALUES('af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d',2,1795894068290,NULL);
INSERT INTO "checkpoints" VALUES('07617ed26101183c048698dc25355ee7c591f9216298a4178549af9b546cedb2',3,1795894068744,NULL);
INSERT INTO "checkpoints" VALUES('e033bf47bb73d7da996a7d28ee7abe1bf7e136f6494e94b481c0df43972e9a27',3,1795894069223,1795894069259);
CREATE TABLE events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	sweep_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	payload TEXT NOT NULL, 
	at_ms INTEGER NOT NULL
);
INSERT INTO "events" VALUES(1,'bb827a003a08','sweep_started','{}',1795894036109);
INSERT INTO "events" VALUES(2,'bb827a003a08','progress','{"keys":["01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317"],"trials":["2c6bcf28ad35bc4a","ec0d975dbbbcdcfc"]}',1795894067559);
INSERT INTO "events" VALUES(3,'bb827a003a08','schedule','{"epoch":1,"event":8,"rate_after":0.009999999776482582,"rate_before":0.10000000149011612,"trial":"2c6bcf28ad35bc4a"}',1795894067560);
INSERT INTO "events" VALUES(4,'bb827a003a08','progress','{"keys":["94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f"],"trials":["2c6bcf28ad35bc4a"]}',1795894067899);
INSERT INTO "events" VALUES(5,'bb827a003a08','trial_ended','{"epoch":2,"error":null,"status":"finished","trial":"2c6bcf28ad35bc4a"}',1795894067934);
INSERT INTO "events" VALUES(6,'bb827a003a08','progress','{"keys":["af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d"],"trials":["ec0d975dbbbcdcfc"]}',1795894068290);
INSERT INTO "events" VALUES(7,'bb827a003a08','trial_ended','{"epoch":2,"error":null,"status":"finished","trial":"ec0d975dbbbcdcfc"}',1795894068294);
INSERT INTO "events" VALUES(8,'bb827a003a08','sweep_ended','{"status":"finished"}',1795894068313);
INSERT INTO "events" VALUES(9,'8ad7b98cea9f','sweep_started','{}',1795894068340);
INSERT INTO "events" VALUES(10,'8ad7b98cea9f','progress','{"keys":["01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317"],"trials":["e1e6fa4c60732e22","80e2664b71225fb5"]}',1795894068379);
INSERT INTO "events" VALUES(11,'8ad7b98cea9f','schedule','{"epoch":1,"event":8,"rate_after":0.009999999776482582,"rate_before":0.10000000149011612,"trial":"e1e6fa4c60732e22"}',1795894068379);
INSERT INTO "events" VALUES(12,'8ad7b98cea9f','progress','{"keys":["94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f"],"trials":["e1e6fa4c60732e22"]}',1795894068379);
INSERT INTO "events" VALUES(13,'8ad7b98cea9f','progress','{"keys":["af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d"],"trials":["80e2664b71225fb5"]}',1795894068379);
INSERT INTO "events" VALUES(14,'8ad7b98cea9f','progress','{"keys":["07617ed26101183c048698dc25355ee7c591f9216298a4178549af9b546cedb2"],"trials":["80e2664b71225fb5"]}',1795894068744);
INSERT INTO "events" VALUES(15,'8ad7b98cea9f','trial_ended','{"epoch":3,"error":null,"status":"finished","trial":"80e2664b71225fb5"}',1795894068787);
INSERT INTO "events" VALUES(16,'8ad7b98cea9f','progress','{"keys":["e033bf47bb73d7da996a7d28ee7abe1bf7e136f6494e94b481c0df43972e9a27"],"trials":["e1e6fa4c60732e22"]}',1795894069223);
INSERT INTO "events" VALUES(17,'8ad7b98cea9f','incident','{"again":true,"attempt":1,"class":"infrastructure","epoch":2,"text":"a worker was lost","trials":["e1e6fa4c60732e22"]}',1795894069244);
INSERT INTO "events" VALUES(18,'8ad7b98cea9f','sweep_ended','{"status":"interrupted"}',1795894069257);
CREATE TABLE invocations (
	id INTEGER NOT NULL, 
	sweep_id VARCHAR NOT NULL, 
	started_ms INTEGER NOT NULL, 
	ended_ms INTEGER, 
	trained INTEGER NOT NULL, 
	replayed INTEGER NOT NULL, 
	forks INTEGER NOT NULL, 
	seconds_training FLOAT NOT NULL, 
	seconds_saving FLOAT NOT NULL, 
	seconds_committing FLOAT, 
	seconds_starting FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "invocations" VALUES(1,'bb827a003a08',1795894036113,1795894068311,3,0,1,1.44372249680000095395e+01,8.06681417000163492048e-01,0.5,0.0);
INSERT INTO "invocations" VALUES(2,'8ad7b98cea9f',1795894068361,1795894069256,2,0,0,5.27814750003017252311e-02,5.77154046000032394658e-01,0.0,0.0);
CREATE TABLE ledger_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT ledger_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "ledger_revision" VALUES('2');
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema_version','2');
CREATE TABLE states (
	"key" VARCHAR NOT NULL, 
	parent VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	finished_at_ms INTEGER NOT NULL, 
	worker VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "states" VALUES('01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317','2c79e58f737e010ee5886e765af03493fb003dd099fec497a5580f8511da413e',1,'{"batch_size":16.0,"examples_per_second":6.670562037257619,"grad_dot_weight":2.347546180089315,"grad_norm_sq":9.777030309041342,"learning_rate_first":0.10000000149011612,"learning_rate_last":0.10000000149011612,"seconds":14.391590913000073,"test_error":100.0,"test_loss":4.728097534179687,"train_error":98.95833333333333,"train_loss":5.24933401743571,"weight_norm_sq":123.40643219795311,"weight_norm_sq/conv1/kernel":3.9737629890441895,"weight_norm_sq/conv2/kernel":7.408427715301514,"weight_norm_sq/dense/bias":0.003182976506650448,"weight_norm_sq/dense/kernel":101.41014862060547,"weight_norm_sq/norm1/bias":0.0005210885428823531,"weight_norm_sq/norm1/scale":3.998718738555908,"weight_norm_sq/norm2/bias":0.026496462523937225,"weight_norm_sq/norm2/scale":6.585173606872559}',1795894067222,'host:1');
INSERT INTO "states" VALUES('94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f','01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317',2,'{"batch_size":16.0,"examples_per_second":2474.492556957098,"grad_dot_weight":0.409405540364484,"grad_norm_sq":6.410441795984904,"learning_rate_first":0.009999999776482582,"learning_rate_last":0.009999999776482582,"seconds":0.038795833000222046,"test_error":100.0,"test_loss":4.768148422241211,"train_error":95.83333333333333,"train_loss":4.479793230692546,"weight_norm_sq":123.3463523153332,"weight_norm_sq/conv1/kernel":3.9733998775482178,"weight_norm_sq/conv2/kernel":7.408511161804199,"weight_norm_sq/dense/bias":0.0036397199146449566,"weight_norm_sq/dense/kernel":101.37582397460938,"weight_norm_sq/norm1/bias":0.0005061508272774518,"weight_norm_sq/norm1/scale":3.9982831478118896,"weight_norm_sq/norm2/bias":0.027490105479955673,"weight_norm_sq/norm2/scale":6.5586981773376465}',1795894067647,'host:1');
INSERT INTO "states" VALUES('af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d','01e14790a2afee8a910d95e69cc86d1f787183946d2c236c49b0cd3ce57ad317',2,'{"batch_size":16.0,"examples_per_second":14038.736970517306,"grad_dot_weight":0.5851604351773858,"grad_norm_sq":6.500840425491333,"learning_rate_first":0.10000000149011612,"learning_rate_last":0.10000000149011612,"seconds":0.006838221999714733,"test_error":100.0,"test_loss":4.757000732421875,"train_error":95.83333333333333,"train_loss":4.560071388880412,"weight_norm_sq":122.94647771195741,"weight_norm_sq/conv1/kernel":3.9801182746887207,"weight_norm_sq/conv2/kernel":7.495245456695557,"weight_norm_sq/dense/bias":0.008738381788134575,"weight_norm_sq/dense/kernel":101.2032699584961,"weight_norm_sq/norm1/bias":0.0004591483739204705,"weight_norm_sq/norm1/scale":3.9969370365142822,"weight_norm_sq/norm2/bias":0.042440179735422134,"weight_norm_sq/norm2/scale":6.219269275665283}',1795894067994,'host:1');
INSERT INTO "states" VALUES('07617ed26101183c048698dc25355ee7c591f9216298a4178549af9b546cedb2','af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d',3,'{"batch_size":16.0,"examples_per_second":4970.636482786667,"grad_dot_weight":0.0996203397711118,"grad_norm_sq":5.769371271133423,"learning_rate_first":0.10000000149011612,"learning_rate_last":0.10000000149011612,"seconds":0.019313421999868297,"test_error":97.5,"test_loss":4.802427673339844,"train_error":92.70833333333333,"train_loss":4.315659046173096,"weight_norm_sq":123.02554561436409,"weight_norm_sq/conv1/kernel":3.984189987182617,"weight_norm_sq/conv2/kernel":7.573875904083252,"weight_norm_sq/dense/bias":0.014514897018671036,"weight_norm_sq/dense/kernel":101.25677490234375,"weight_norm_sq/norm1/bias":0.0007056506001390517,"weight_norm_sq/norm1/scale":3.993671178817749,"weight_norm_sq/norm2/bias":0.053734175860881805,"weight_norm_sq/norm2/scale":6.148078918457031}',1795894068439,'host:1');
INSERT INTO "states" VALUES('e033bf47bb73d7da996a7d28ee7abe1bf7e136f6494e94b481c0df43972e9a27','94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f',3,'{"batch_size":16.0,"examples_per_second":2868.4070746140133,"grad_dot_weight":0.3217989007631938,"grad_norm_sq":5.923149188359578,"learning_rate_first":0.009999999776482582,"learning_rate_last":0.009999999776482582,"seconds":0.03346805300043343,"test_error":97.5,"test_loss":4.823842620849609,"train_error":93.75,"train_loss":4.445039669672648,"weight_norm_sq":123.29648459050804,"weight_norm_sq/conv1/kernel":3.9730167388916016,"weight_norm_sq/conv2/kernel":7.408484935760498,"weight_norm_sq/dense/bias":0.004116556141525507,"weight_norm_sq/dense/kernel":101.34658813476562,"weight_norm_sq/norm1/bias":0.0005215317942202091,"weight_norm_sq/norm1/scale":3.9978044033050537,"weight_norm_sq/norm2/bias":0.02853630855679512,"weight_norm_sq/norm2/scale":6.537415981292725}',1795894068863,'host:1');
CREATE TABLE sweeps (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	spec TEXT NOT NULL, 
	sharing INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	created_ms INTEGER NOT NULL, 
	used_ms INTEGER NOT NULL, 
	forecast TEXT, 
	identities TEXT NOT NULL, invocation INTEGER DEFAULT '0' NOT NULL, holder VARCHAR, lease_until_ms INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sweeps" VALUES('bb827a003a08','tiny','{"arms":{"at":{"schedule":{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1}},"constant":{"schedule":{"kind":"constant","learning_rate":0.1}}},"epochs":2,"name":"tiny","program":{"batch_size":16,"data":{"kind":"digit_pairs","test":40,"train":96},"l2":0.001,"model":{"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd"},"task":"classify"},"seeds":[0]}',1,'finished',1795894036105,1795894036113,NULL,'[{"code":"180b97ef9f2544edde1fc9561e936d60e342a71afe20d52530d87970053e8daf","data":"38bf8c609da2a8826e26fb6bef8f496567b8b92f7c293162a6596cbc7a726f77","examples":96,"numerics":{"device":"cpu: a processor 0123abcd","devices":"1","dtype":"float32","flax":"0.12.8","jax":"0.10.2","jaxlib":"0.10.2","matmul_precision":"None","optax":"0.2.8","random":"threefry2x32","threads":"1","xla_flags":""},"program":{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}}]',0,NULL,0);
INSERT INTO "sweeps" VALUES('8ad7b98cea9f','longer','{"arms":{"at":{"schedule":{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1}},"constant":{"schedule":{"kind":"constant","learning_rate":0.1}}},"epochs":3,"name":"longer","program":{"batch_size":16,"data":{"kind":"digit_pairs","test":40,"train":96},"l2":0.001,"model":{"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd"},"task":"classify"},"seeds":[0]}',1,'interrupted',1795894068339,1795894068361,NULL,'[{"code":"180b97ef9f2544edde1fc9561e936d60e342a71afe20d52530d87970053e8daf","data":"38bf8c609da2a8826e26fb6bef8f496567b8b92f7c293162a6596cbc7a726f77","examples":96,"numerics":{"device":"cpu: a processor 0123abcd","devices":"1","dtype":"float32","flax":"0.12.8","jax":"0.10.2","jaxlib":"0.10.2","matmul_precision":"None","optax":"0.2.8","random":"threefry2x32","threads":"1","xla_flags":""},"program":{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}}]',0,NULL,0);
CREATE TABLE tracking (
	sweep_id VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	event_id INTEGER NOT NULL, 
	PRIMARY KEY (sweep_id, target)
);
INSERT INTO "tracking" VALUES('bb827a003a08','sqlite:///mlflow.db',4);
CREATE TABLE trials (
	id VARCHAR NOT NULL, 
	sweep_id VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	arm VARCHAR NOT NULL, 
	seed INTEGER NOT NULL, 
	settings TEXT NOT NULL, 
	program TEXT NOT NULL, 
	schedule TEXT NOT NULL, 
	epochs INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	head VARCHAR, 
	error TEXT, final_epoch INTEGER DEFAULT '0' NOT NULL, failure VARCHAR, attempts INTEGER DEFAULT '0' NOT NULL, cancel_asked_ms INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "trials" VALUES('2c6bcf28ad35bc4a','bb827a003a08',0,'at seed=0','at',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1,"warmup_epochs":0}',2,'finished',2,'94c4798e122997dad04c386b40fca6934e4f1e5f92281136e040013ee1360e8f',NULL,2,NULL,0,NULL);
INSERT INTO "trials" VALUES('ec0d975dbbbcdcfc','bb827a003a08',1,'constant seed=0','constant',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"kind":"constant","learning_rate":0.1,"warmup_epochs":0}',2,'finished',2,'af365e43e31c642e7e75af8cbf309d45b01709c492f88f9e597c8a92ed1c705d',NULL,2,NULL,0,NULL);
INSERT INTO "trials" VALUES('e1e6fa4c60732e22','8ad7b98cea9f',0,'at seed=0','at',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1,"warmup_epochs":0}',3,'running',3,'e033bf47bb73d7da996a7d28ee7abe1bf7e136f6494e94b481c0df43972e9a27',NULL,3,'infrastructure',1,NULL);
INSERT INTO "trials" VALUES('80e2664b71225fb5','8ad7b98cea9f',1,'constant seed=0','constant',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.001,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"kind":"constant","learning_rate":0.1,"warmup_epochs":0}',3,'finished',3,'07617ed26101183c048698dc25355ee7c591f9216298a4178549af9b546cedb2',NULL,3,NULL,0,NULL);
CREATE INDEX ix_sweeps_name ON sweeps (name);
CREATE INDEX ix_trials_sweep_id ON trials (sweep_id);
CREATE INDEX events_by_sweep ON events (sweep_id, id);
CREATE INDEX ix_invocations_sweep_id ON invocations (sweep_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',18);
COMMIT;
