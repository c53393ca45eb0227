BEGIN TRANSACTION;
CREATE TABLE checkpoints (
	"key" VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	saved_at_ms INTEGER NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "checkpoints" VALUES('527c879d0ac11799c172aff8b58e9c20ecf69aa3bd1d8c60dc0c3353ab918700',1,1795578541641);
INSERT INTO "checkpoints" VALUES('2880ef09b3e39b02077f540f0ac80a9bc5251dc685b020d6a74f1c1c8a45e895',2,1795578541913);
INSERT INTO "checkpoints" VALUES('60ba8fd8f77f560439f1553a2183f6a83e0f32c449f500e72b58cb5af686c34b',2,1795578542293);
CREATE TABLE events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	sweep_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	payload TEXT NOT NULL, 
	at_ms INTEGER NOT NULL
);
INSERT INTO "events" VALUES(1,'b3a38ba95e61','sweep_started','{}',1795578519548);
INSERT INTO "events" VALUES(2,'b3a38ba95e61','progress','{"keys":["527c879d0ac11799c172aff8b58e9c20ecf69aa3bd1d8c60dc0c3353ab918700"],"trials":["2eb777de2e6a3681","38209563b83a37d1"]}',1795578541470);
INSERT INTO "events" VALUES(3,'b3a38ba95e61','schedule','{"epoch":1,"event":8,"rate_after":0.009999999776482582,"rate_before":0.10000000149011612,"trial":"38209563b83a37d1"}',1795578541471);
INSERT INTO "events" VALUES(4,'b3a38ba95e61','progress','{"keys":["2880ef09b3e39b02077f540f0ac80a9bc5251dc685b020d6a74f1c1c8a45e895"],"trials":["2eb777de2e6a3681"]}',1795578541675);
INSERT INTO "events" VALUES(5,'b3a38ba95e61','trial_ended','{"epoch":2,"error":null,"status":"finished","trial":"2eb777de2e6a3681"}',1795578541938);
INSERT INTO "events" VALUES(6,'b3a38ba95e61','progress','{"keys":["60ba8fd8f77f560439f1553a2183f6a83e0f32c449f500e72b58cb5af686c34b"],"trials":["38209563b83a37d1"]}',1795578541995);
INSERT INTO "events" VALUES(7,'b3a38ba95e61','trial_ended','{"epoch":2,"error":null,"status":"finished","trial":"38209563b83a37d1"}',1795578542305);
INSERT INTO "events" VALUES(8,'b3a38ba95e61','sweep_ended','{"status":"finished"}',1795578542309);
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
INSERT INTO "invocations" VALUES(1,'b3a38ba95e61',1795578519553,1795578542307,3,0,1,1.18991875009987779776e+01,6.84454503999404550995e-01,0.5,2.0);
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema_version','1');
CREATE TABLE states (
	"key" VARCHAR NOT NULL, 
	parent VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	finished_at_ms INTEGER NOT NULL, 
	worker VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "states" VALUES('527c879d0ac11799c172aff8b58e9c20ecf69aa3bd1d8c60dc0c3353ab918700','0072565df6533c5c073b626a6377e02ab2d24d8d225a062f6da2dce559db0bbe',1,'{"batch_size":16.0,"examples_per_second":8.080063910322535,"grad_dot_weight":2.3487353324890137,"grad_norm_sq":9.7821683883667,"learning_rate_first":0.10000000149011612,"learning_rate_last":0.10000000149011612,"seconds":11.881094143000155,"test_error":100.0,"test_loss":4.728556442260742,"train_error":98.95833333333333,"train_loss":5.249631484349568,"weight_norm_sq":123.5546596457134,"weight_norm_sq/conv1/kernel":3.9784457683563232,"weight_norm_sq/conv2/kernel":7.417389869689941,"weight_norm_sq/dense/bias":0.003185104578733444,"weight_norm_sq/dense/kernel":101.53190612792969,"weight_norm_sq/norm1/bias":0.0005317737231962383,"weight_norm_sq/norm1/scale":4.003528118133545,"weight_norm_sq/norm2/bias":0.02654324844479561,"weight_norm_sq/norm2/scale":6.593129634857178}',1795578541463,'host:1');
INSERT INTO "states" VALUES('2880ef09b3e39b02077f540f0ac80a9bc5251dc685b020d6a74f1c1c8a45e895','527c879d0ac11799c172aff8b58e9c20ecf69aa3bd1d8c60dc0c3353ab918700',2,'{"batch_size":16.0,"examples_per_second":6484.3698657873065,"grad_dot_weight":0.5875012104709944,"grad_norm_sq":6.519541263580322,"learning_rate_first":0.10000000149011612,"learning_rate_last":0.10000000149011612,"seconds":0.01480483099931007,"test_error":97.5,"test_loss":4.760385894775391,"train_error":95.83333333333333,"train_loss":4.560573180516561,"weight_norm_sq":123.24082647322211,"weight_norm_sq/conv1/kernel":3.9898838996887207,"weight_norm_sq/conv2/kernel":7.513761043548584,"weight_norm_sq/dense/bias":0.008752087131142616,"weight_norm_sq/dense/kernel":101.4454574584961,"weight_norm_sq/norm1/bias":0.0005023503908887506,"weight_norm_sq/norm1/scale":4.006446361541748,"weight_norm_sq/norm2/bias":0.04285896196961403,"weight_norm_sq/norm2/scale":6.233164310455322}',1795578541674,'host:1');
INSERT INTO "states" VALUES('60ba8fd8f77f560439f1553a2183f6a83e0f32c449f500e72b58cb5af686c34b','527c879d0ac11799c172aff8b58e9c20ecf69aa3bd1d8c60dc0c3353ab918700',2,'{"batch_size":16.0,"examples_per_second":29192.401345664533,"grad_dot_weight":0.41260863095521927,"grad_norm_sq":6.457286914189656,"learning_rate_first":0.009999999776482582,"learning_rate_last":0.009999999776482582,"seconds":0.003288526999313035,"test_error":100.0,"test_loss":4.767652130126953,"train_error":95.83333333333333,"train_loss":4.480553150177002,"weight_norm_sq":123.50902049202705,"weight_norm_sq/conv1/kernel":3.978562831878662,"weight_norm_sq/conv2/kernel":7.418381690979004,"weight_norm_sq/dense/bias":0.00364249967969954,"weight_norm_sq/dense/kernel":101.50955200195312,"weight_norm_sq/norm1/bias":0.0005085927550680935,"weight_norm_sq/norm1/scale":4.00358247756958,"weight_norm_sq/norm2/bias":0.027501998469233513,"weight_norm_sq/norm2/scale":6.567288398742676}',1795578541994,'host:1');
CREATE TABLE sweeps (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	spec TEXT NOT NULL, 
	sharing INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	created_ms INTEGER NOT NULL, 
	used_ms INTEGER NOT NULL, 
	forecast TEXT, 
	identities TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sweeps" VALUES('b3a38ba95e61','tiny','{"arms":{"at":{"schedule":{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1}},"constant":{"schedule":{"kind":"constant","learning_rate":0.1}}},"epochs":2,"name":"tiny","program":{"batch_size":16,"data":{"kind":"digit_pairs","test":40,"train":96},"model":{"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd"},"task":"classify"},"seeds":[0]}',1,'finished',1795578519545,1795578519545,NULL,'[{"code":"b0cd14638d8b9d10719403ce50163d3a309f1c17433c385792c75d81e74f1516","data":"38bf8c609da2a8826e26fb6bef8f496567b8b92f7c293162a6596cbc7a726f77","examples":96,"numerics":{"device":"cpu: a processor 0123abcd","devices":"1","dtype":"float32","flax":"0.12.8","jax":"0.10.2","jaxlib":"0.10.2","matmul_precision":"None","optax":"0.2.8","random":"threefry2x32","threads":"1","xla_flags":""},"program":{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.0,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}}]');
CREATE TABLE tracking (
	sweep_id VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	event_id INTEGER NOT NULL, 
	PRIMARY KEY (sweep_id, target)
);
INSERT INTO "tracking" VALUES('b3a38ba95e61','here',3);
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
	error TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "trials" VALUES('2eb777de2e6a3681','b3a38ba95e61',0,'constant seed=0','constant',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.0,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"kind":"constant","learning_rate":0.1,"warmup_epochs":0}',2,'finished',2,'2880ef09b3e39b02077f540f0ac80a9bc5251dc685b020d6a74f1c1c8a45e895',NULL);
INSERT INTO "trials" VALUES('38209563b83a37d1','b3a38ba95e61',1,'at seed=0','at',0,'{}','{"augment":{"crop":0,"flip":false,"noise":0.0,"roll":0},"batch_size":16,"clip":null,"data":{"kind":"digit_pairs","seed":0,"test":40,"train":96},"l2":0.0,"model":{"dropout":0.1,"kind":"small_cnn","width":4},"optimizer":{"kind":"sgd","momentum":0.0,"nesterov":false},"task":{"dynamics":false,"kind":"classify"}}','{"decay_epoch":1,"decay_factor":0.1,"kind":"decay_at","learning_rate":0.1,"warmup_epochs":0}',2,'finished',2,'60ba8fd8f77f560439f1553a2183f6a83e0f32c449f500e72b58cb5af686c34b',NULL);
CREATE INDEX ix_sweeps_name ON sweeps (name);
CREATE INDEX ix_trials_sweep_id ON trials (sweep_id);
CREATE INDEX events_by_sweep ON events (sweep_id, id);
CREATE INDEX ix_invocations_sweep_id ON invocations (sweep_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',8);
COMMIT;
