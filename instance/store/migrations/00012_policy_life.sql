-- +goose Up
-- Officers' keys. The private half never was here. A revoked key does not come
-- back; the officer enrols another.
create table meridian.officer_key (
  id          text        not null constraint officer_key_pk primary key constraint officer_key_is_named_by_digest check (id ~ '^[0-9a-f]{64}$'),
  subject     text        not null,
  department  text        not null, -- in which the officer answers for policy
  public_key  bytea       not null constraint officer_key_is_ed25519 check (length(public_key) = 32),
  proposal    text        not null default '', -- whose signatures enrolled it; '' for the operator's configuration
  valid_from  timestamptz not null default clock_timestamp(),
  valid_to    timestamptz not null,
  revoked_at  timestamptz,
  revoked_by  text        not null default '',
  reason      text        not null default '',
  constraint officer_key_ends_after_it_begins check (valid_from < valid_to)
);

-- What one officer asks a second one to sign: a bundle, or a key. What became
-- of it is said by signatures, activations and keys.
create table meridian.proposal (
  id          text        not null constraint proposal_pk primary key, -- of the author's statement
  purpose     text        not null constraint proposal_purpose_is_known check (purpose in ('propose', 'enroll')),
  about       text        not null, -- digest of the bundle, or of the key's document
  base        text        not null, -- bundle it was made from and checked against
  after       bigint      not null, -- activation it may follow
  content     jsonb       not null, -- of an enrolment: the key
  note        text        not null,
  report      jsonb       not null, -- what the checks found
  proposed_by text        not null,
  expires     timestamptz not null,
  at          timestamptz not null default clock_timestamp()
);
create index proposal_by_time on meridian.proposal (at desc);

-- Every statement that was accepted here, once: a second use is a replay.
create table meridian.signature (
  id         text        not null constraint signature_is_used_once primary key, -- of the statement
  purpose    text        not null,
  about      text        not null,
  proposal   text        not null, -- that it belongs to; '' for none
  statement  text        not null,
  signature  bytea       not null,
  key        text        not null constraint signature_of_a_key references meridian.officer_key,
  subject    text        not null,
  department text        not null,
  at         timestamptz not null default clock_timestamp()
);
create index signature_by_proposal on meridian.signature (proposal);

create trigger append_only before update or delete or truncate on meridian.proposal for each statement execute function meridian.refuse_change_of_policy();
create trigger append_only before update or delete or truncate on meridian.signature for each statement execute function meridian.refuse_change_of_policy();

-- The emergency overlay: it closes, under whatever bundle, for a day at most,
-- and ends by the database's clock.
create table fact.denial (
  id            text        not null, -- of the statement that one officer signed
  account       uuid,                 -- null for any
  territory     text        not null, -- '' for any; with everything below it
  subject       text        not null, -- '' for everybody, other instances included
  reason        text        not null constraint denial_says_why check (reason <> ''),
  given_by      text        not null,
  ended         boolean     not null default false,
  end_reason    text        not null default '',
  recorded_by   text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint denial_is_recorded_once primary key (id, recorded_from),
  constraint denial_is_for_a_day check (valid_from <= valid_to and valid_to <= valid_from + interval '24 hours'),
  constraint denial_is_recorded_before_it_ends check (recorded_from <= recorded_to),
  constraint denial_names_something check (account is not null or territory <> '' or subject <> '')
);
create unique index denial_has_one_current_row on fact.denial (id) where recorded_to = 'infinity';
create index denial_by_end on fact.denial (valid_to) where recorded_to = 'infinity';
create trigger inserted after insert on fact.denial referencing new table as changed for each statement execute function fact.moved();
create trigger updated after update on fact.denial referencing new table as changed for each statement execute function fact.moved();
create trigger deleted before delete or truncate on fact.denial for each statement execute function fact.refuse_deletion();

-- A bundle that is tried on live reads beside the one in force, and what it
-- would have answered otherwise: ids and counts.
create table meridian.shadow (
  id         bigint      generated always as identity constraint shadow_pk primary key,
  digest     text        not null constraint shadow_of_a_bundle references meridian.bundle,
  started_by text        not null,
  started_at timestamptz not null default clock_timestamp(),
  stopped_by text        not null default '',
  stopped_at timestamptz
);
create unique index shadow_is_one_at_a_time on meridian.shadow ((true)) where stopped_at is null;

create table meridian.shadow_difference (
  shadow   bigint not null constraint shadow_difference_of_a_shadow references meridian.shadow,
  subject  text   not null,
  action   text   not null,
  entity   text   not null,
  reads    bigint not null default 0, -- compared
  differed bigint not null default 0,
  gained   bigint not null default 0, -- records, over all reads
  lost     bigint not null default 0,
  groups   bigint not null default 0, -- records seen with other field groups
  failed   bigint not null default 0, -- reads the shadow had no answer to
  dropped  bigint not null default 0, -- reads not compared because there were too many
  sample   uuid[] not null default '{}', -- some of the records
  constraint shadow_difference_pk primary key (shadow, subject, action, entity)
);

-- +goose Down
drop table meridian.shadow_difference, meridian.shadow, fact.denial, meridian.signature, meridian.proposal, meridian.officer_key;
