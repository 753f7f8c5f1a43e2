-- a state store of the form 0001: two nights, the second with unanswered requests
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE guest_keys (
	source TEXT NOT NULL, 
	key_digest TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	PRIMARY KEY (source, key_digest)
);
INSERT INTO "guest_keys" VALUES('rooms','04dd107a38638efe8a380f0a1ae5d9a5',1);
INSERT INTO "guest_keys" VALUES('rooms','522f6f9c350b3acedfa2cbb54f9a4eb6',2);
INSERT INTO "guest_keys" VALUES('rooms','872719d87e050f90836d17e63ce451c5',3);
INSERT INTO "guest_keys" VALUES('rooms','9a592fc320b7b6d56ddc5a391d52dc39',4);
INSERT INTO "guest_keys" VALUES('rooms','9dcc99f3eeef52d709502bc07dda5bf9',5);
INSERT INTO "guest_keys" VALUES('rooms','56ae673ba4353e0344c3aebda002c3c1',6);
CREATE TABLE identity (
	id INTEGER NOT NULL, 
	base_url TEXT, 
	agent_token_hash TEXT, 
	invitation_ids TEXT, 
	policy_digest TEXT, 
	policy_json TEXT, 
	salt TEXT, 
	created_at BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "identity" VALUES(1,'http://127.0.0.1:36155/api/v2','41faec84a4e76f0be70371795b7a47ce76fff6fd08403c1bba80ae91163905d7','per-event','a5e048da27db7f43d2216acbbed70acabb138e3e8140706b425f2175688ad6c3','','8edfac1125d138ac7bf4624f62085abb',1795559474103613);
CREATE TABLE lease (
	id INTEGER NOT NULL, 
	holder TEXT, 
	run_id TEXT, 
	acquired_at BIGINT, 
	expires_at BIGINT, 
	PRIMARY KEY (id)
);
CREATE TABLE plan_changes (
	plan_id TEXT NOT NULL, 
	seq BIGINT NOT NULL, 
	source_id TEXT NOT NULL, 
	source TEXT, 
	location_id BIGINT, 
	action TEXT, 
	reason TEXT, 
	base_fingerprint TEXT, 
	base_run TEXT, 
	fingerprint TEXT, 
	fingerprint_version BIGINT, 
	starts_at BIGINT, 
	ends_at BIGINT, 
	name TEXT, 
	fields_json TEXT, 
	guests_json TEXT, 
	"after" TEXT, 
	body TEXT, 
	members_json TEXT, 
	ignore_missing BOOLEAN, 
	guests BIGINT, 
	state TEXT NOT NULL, 
	code TEXT, 
	message TEXT, 
	run_id TEXT, 
	sent_at BIGINT, 
	answered_at BIGINT, 
	PRIMARY KEY (plan_id, seq)
);
INSERT INTO "plan_changes" VALUES('20261124-223114-5ccc',1,'rooms-1','rooms',11,'create',NULL,NULL,NULL,'7cc951f7625a589498d2273425f1c5d1',1,1800666000000000,1800669600000000,'Meeting 1',NULL,NULL,'{"sourceId":"rooms-1","name":"Meeting 1","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-1-~g1","email":"ada@out.example","lastName":"A"}]}','{"sourceId":"rooms-1","name":"Meeting 1","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-1-~g1","email":"ada@out.example","lastName":"A"}]}',NULL,1,1,'confirmed',NULL,NULL,'20261124-223114-5ccc',1795559475179096,1795559475255163);
INSERT INTO "plan_changes" VALUES('20261124-223114-5ccc',2,'rooms-2','rooms',11,'create',NULL,NULL,NULL,'2fd75f443efaaa0573771d248e79b66a',1,1800666000000000,1800669600000000,'Meeting 2',NULL,NULL,'{"sourceId":"rooms-2","name":"Meeting 2","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-2-~g2","email":"bob@out.example","lastName":"B"},{"sourceId":"rooms-2-~g3","email":"cyd@out.example","lastName":"C"}]}','{"sourceId":"rooms-2","name":"Meeting 2","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-2-~g2","email":"bob@out.example","lastName":"B"},{"sourceId":"rooms-2-~g3","email":"cyd@out.example","lastName":"C"}]}',NULL,1,2,'confirmed',NULL,NULL,'20261124-223114-5ccc',1795559475179096,1795559475255163);
INSERT INTO "plan_changes" VALUES('20261124-223114-5ccc',3,'rooms-3','rooms',11,'create',NULL,NULL,NULL,'e50918c7c1568d56047361bd739cec3d',1,1800666000000000,1800669600000000,'Meeting 3',NULL,NULL,'{"sourceId":"rooms-3","name":"Meeting 3","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-3-~g4","email":"dan@out.example","lastName":"D"}]}','{"sourceId":"rooms-3","name":"Meeting 3","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-3-~g4","email":"dan@out.example","lastName":"D"}]}',NULL,1,1,'confirmed',NULL,NULL,'20261124-223114-5ccc',1795559475179096,1795559475255163);
INSERT INTO "plan_changes" VALUES('20261124-223114-5ccc',4,'rooms-4','rooms',11,'create',NULL,NULL,NULL,'260f77f5f1743fcdfa308c141bdd3097',1,1800666000000000,1800669600000000,'Meeting 4',NULL,NULL,'{"sourceId":"rooms-4","name":"Meeting 4","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-4-~g5","email":"eve@out.example","lastName":"E"}]}','{"sourceId":"rooms-4","name":"Meeting 4","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-4-~g5","email":"eve@out.example","lastName":"E"}]}',NULL,1,1,'confirmed',NULL,NULL,'20261124-223114-5ccc',1795559475179096,1795559475255163);
INSERT INTO "plan_changes" VALUES('20261124-223115-055f',1,'rooms-2','rooms',11,'update',NULL,'2fd75f443efaaa0573771d248e79b66a','20261124-223114-5ccc','d42a59c1b1e59f1b179f9208b40870f4',1,1800666000000000,1800669600000000,'Meeting 2','[]','{"added":[{"sourceId":"rooms-2-~g6","email":"fay@out.example","lastName":"F"}],"changed":[],"removed":[]}','{"sourceId":"rooms-2","name":"Meeting 2","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-2-~g2","email":"bob@out.example","lastName":"B"},{"sourceId":"rooms-2-~g3","email":"cyd@out.example","lastName":"C"},{"sourceId":"rooms-2-~g6","email":"fay@out.example","lastName":"F"}]}','{"sourceId":"rooms-2","name":"Meeting 2","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-2-~g6","email":"fay@out.example","lastName":"F"}]}',NULL,1,3,'unknown','CONNECTION_LOST','Server disconnected without sending a response.','20261124-223115-055f',1795559475955799,1795559475963284);
INSERT INTO "plan_changes" VALUES('20261124-223115-055f',2,'rooms-4','rooms',11,'delete','absent','260f77f5f1743fcdfa308c141bdd3097','20261124-223114-5ccc',NULL,1,1800666000000000,1800669600000000,'Meeting 4',NULL,'{"added":[],"changed":[],"removed":[{"sourceId":"rooms-4-~g5","email":"eve@out.example","lastName":"E"}]}',NULL,'{"sourceId":"rooms-4","deletedAt":"2026-11-24T01:00:00Z"}',NULL,1,1,'unknown','CONNECTION_LOST','Server disconnected without sending a response.','20261124-223115-055f',1795559475955799,1795559475963284);
CREATE TABLE plans (
	plan_id TEXT NOT NULL, 
	run_id TEXT, 
	digest TEXT, 
	created_at BIGINT, 
	as_of BIGINT, 
	status TEXT, 
	"full" BOOLEAN, 
	findings_json TEXT, 
	balance_json TEXT, 
	policy_digest TEXT, 
	changes BIGINT, 
	approved_by TEXT, 
	approved_at BIGINT, 
	approve_reason TEXT, 
	PRIMARY KEY (plan_id)
);
INSERT INTO "plans" VALUES('20261124-223114-5ccc','20261124-223114-5ccc','08311ec8d55f3d398bc2bdc5f63b61c73ba07996ea5b9f4c20c614e74318da67',1795559474115500,1795482000000000,'applied',0,'[]','{"rows_read":4,"rows":{"create":4},"rows_balanced":true,"snapshot_before":0,"snapshot":{},"snapshot_balanced":true}','a5e048da27db7f43d2216acbbed70acabb138e3e8140706b425f2175688ad6c3',4,NULL,NULL,NULL);
INSERT INTO "plans" VALUES('20261124-223115-055f','20261124-223115-055f','25e383bb2e61157e76e40bcb787d7b9802e11d65bd5250838639cbf3f9fb206e',1795559475457957,1795482000000000,'partly',0,'[]','{"rows_read":3,"rows":{"unchanged":2,"update":1},"rows_balanced":true,"snapshot_before":4,"snapshot":{"delete":1,"unchanged":2,"update":1},"snapshot_balanced":true}','a5e048da27db7f43d2216acbbed70acabb138e3e8140706b425f2175688ad6c3',2,NULL,NULL,NULL);
CREATE TABLE quarantine (
	id BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	source TEXT, 
	part TEXT, 
	source_event_id TEXT, 
	guest_id TEXT, 
	source_id TEXT, 
	"column" TEXT, 
	"check" TEXT, 
	value TEXT, 
	remedy TEXT, 
	PRIMARY KEY (id, run_id)
);
CREATE TABLE rejections (
	source_id TEXT NOT NULL, 
	source TEXT, 
	code TEXT, 
	message TEXT, 
	tries BIGINT, 
	first_run TEXT, 
	last_run TEXT, 
	last_at BIGINT, 
	next_at BIGINT, 
	fingerprint TEXT, 
	PRIMARY KEY (source_id)
);
CREATE TABLE runs (
	run_id TEXT NOT NULL, 
	kind TEXT, 
	plan_id TEXT, 
	started_at BIGINT, 
	finished_at BIGINT, 
	as_of BIGINT, 
	status TEXT, 
	exit_code BIGINT, 
	summary_json TEXT, 
	report_dir TEXT, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('20261124-223114-5ccc','sync','20261124-223114-5ccc',1795559474115500,1795559475361759,1795482000000000,'done',0,'{"verdict":"done: 4 changes","counts":{"create":4,"update":0,"delete":0,"expire":0,"held":0,"dormant":0,"unchanged":0,"pilot":0},"outcomes":{"confirmed":4},"people_mailed":{"invited":5,"updated":0,"cancelled":0,"total":5,"mails":5}}','runs/20261124-223114-5ccc');
INSERT INTO "runs" VALUES('20261124-223115-055f','sync','20261124-223115-055f',1795559475457957,1795559476047673,1795482000000000,'failed',6,'{"verdict":"stopped: essentry gave no usable answer at http://127.0.0.1:36155/api/v2: what was not sent stays planned; check the network and essentry''s state, then apply the plan again or wait for the next run","counts":{"create":0,"update":1,"delete":1,"expire":0,"held":0,"dormant":0,"unchanged":2,"pilot":0},"outcomes":{"unknown":2},"people_mailed":{"invited":0,"updated":0,"cancelled":0,"total":0,"mails":0}}','runs/20261124-223115-055f');
CREATE TABLE snapshot_events (
	source_id TEXT NOT NULL, 
	source TEXT, 
	location_id BIGINT, 
	name TEXT, 
	starts_at BIGINT, 
	ends_at BIGINT, 
	fingerprint TEXT, 
	fingerprint_version BIGINT, 
	payload TEXT, 
	guests BIGINT, 
	members_json TEXT, 
	state TEXT NOT NULL, 
	absent_runs BIGINT, 
	confirmed_run TEXT, 
	confirmed_at BIGINT, 
	PRIMARY KEY (source_id)
);
INSERT INTO "snapshot_events" VALUES('rooms-1','rooms',11,'Meeting 1',1800666000000000,1800669600000000,'7cc951f7625a589498d2273425f1c5d1',1,'{"sourceId":"rooms-1","name":"Meeting 1","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-1-~g1","email":"ada@out.example","lastName":"A"}]}',1,NULL,'active',0,'20261124-223114-5ccc',1795559475255163);
INSERT INTO "snapshot_events" VALUES('rooms-2','rooms',11,'Meeting 2',1800666000000000,1800669600000000,'2fd75f443efaaa0573771d248e79b66a',1,'{"sourceId":"rooms-2","name":"Meeting 2","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-2-~g2","email":"bob@out.example","lastName":"B"},{"sourceId":"rooms-2-~g3","email":"cyd@out.example","lastName":"C"}]}',2,NULL,'active',0,'20261124-223114-5ccc',1795559475255163);
INSERT INTO "snapshot_events" VALUES('rooms-3','rooms',11,'Meeting 3',1800666000000000,1800669600000000,'e50918c7c1568d56047361bd739cec3d',1,'{"sourceId":"rooms-3","name":"Meeting 3","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-3-~g4","email":"dan@out.example","lastName":"D"}]}',1,NULL,'active',0,'20261124-223114-5ccc',1795559475255163);
INSERT INTO "snapshot_events" VALUES('rooms-4','rooms',11,'Meeting 4',1800666000000000,1800669600000000,'260f77f5f1743fcdfa308c141bdd3097',1,'{"sourceId":"rooms-4","name":"Meeting 4","startsAt":"2027-01-23T01:00:00Z","endsAt":"2027-01-23T02:00:00Z","locationId":11,"host":{"email":"host@corp.example"},"invitations":[{"sourceId":"rooms-4-~g5","email":"eve@out.example","lastName":"E"}]}',1,NULL,'active',1,'20261124-223114-5ccc',1795559475255163);
CREATE TABLE source_reads (
	run_id TEXT NOT NULL, 
	source TEXT NOT NULL, 
	events BIGINT, 
	guests BIGINT, 
	outside_guests BIGINT, 
	quarantined BIGINT, 
	events_healthy BOOLEAN, 
	guests_healthy BOOLEAN, 
	read_at BIGINT, 
	PRIMARY KEY (run_id, source)
);
INSERT INTO "source_reads" VALUES('20261124-223114-5ccc','rooms',4,5,5,0,1,1,1795559475295589);
INSERT INTO "source_reads" VALUES('20261124-223115-055f','rooms',3,5,5,0,1,1,1795559475977316);
CREATE INDEX plan_changes_source_id ON plan_changes (source_id);
CREATE INDEX plan_changes_open ON plan_changes (state) WHERE state IN ('sending', 'unknown');
COMMIT;
