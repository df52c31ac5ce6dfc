-- +goose Up
-- Facts: what policy reads beside the record. Every table keeps two times.
-- valid_from..valid_to says when the fact holds in the business, half-open;
-- recorded_from..recorded_to says when this database believed it. A change ends
-- a row's recorded time and adds its successor, so backdating never rewrites
-- what was decided on in March. Nothing is ever deleted.

create table fact.territory (
  id            text        not null,
  parent        text        not null, -- '' for the root
  name          text        not null,
  level         text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint territory_is_recorded_once primary key (id, valid_from, recorded_from),
  constraint territory_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);
create index territory_by_parent on fact.territory (parent) where recorded_to = 'infinity';

create table fact.segment (
  id            text        not null,
  parent        text        not null,
  name          text        not null,
  level         text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint segment_is_recorded_once primary key (id, valid_from, recorded_from),
  constraint segment_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);
create index segment_by_parent on fact.segment (parent) where recorded_to = 'infinity';

create table fact.department (
  id            text        not null,
  parent        text        not null,
  name          text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint department_is_recorded_once primary key (id, valid_from, recorded_from),
  constraint department_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);

create table fact.subject (
  id            text        not null,
  kind          text        not null constraint subject_kind_is_known check (kind in ('person', 'service')),
  roles         text[]      not null,
  clearance     integer     not null constraint subject_clearance_is_a_digit check (clearance between 0 and 9),
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint subject_is_recorded_once primary key (id, valid_from, recorded_from),
  constraint subject_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);

-- A subject's place in a tree: the root of the subtree it covers, or a
-- department it belongs to.
create table fact.assignment (
  subject       text        not null,
  tree          text        not null constraint assignment_tree_is_known check (tree in ('territory', 'segment', 'department')),
  node          text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint assignment_is_recorded_once primary key (subject, tree, node, valid_from, recorded_from),
  constraint assignment_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);

-- Members of department may do actions on the records of on_department.
create table fact.relationship (
  department    text        not null,
  on_department text        not null,
  actions       text[]      not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint relationship_is_recorded_once primary key (department, on_department, valid_from, recorded_from),
  constraint relationship_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);

-- begins and ends are what both sides signed; valid_from and valid_to when the
-- contract was in force here, which is never longer.
create table fact.contract (
  id                  text        not null,
  source              text        not null,
  destination         text        not null,
  entity              text        not null,
  territories         text[]      not null,
  segments            text[]      not null,
  departments         text[]      not null,
  groups              text[]      not null,
  jurisdictions       text[]      not null,
  purpose             text        not null,
  legal_basis         text        not null,
  arrives_department  text        not null,
  arrives_sensitivity integer     not null,
  begins              timestamptz not null,
  ends                timestamptz not null,
  valid_from          timestamptz not null,
  valid_to            timestamptz not null,
  recorded_from       timestamptz not null default clock_timestamp(),
  recorded_to         timestamptz not null default 'infinity',
  constraint contract_is_recorded_once primary key (id, valid_from, recorded_from),
  constraint contract_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to),
  constraint contract_joins_two_instances check (source <> destination)
);

-- An agreement opens an account to a department, or walls it off.
create table fact.agreement (
  id            uuid        not null,
  account       uuid        not null,
  department    text        not null,
  effect        text        not null constraint agreement_effect_is_known check (effect in ('open', 'wall')),
  actions       text[]      not null,
  groups        text[]      not null,
  document      text        not null,
  reason        text        not null,
  given_by      text        not null,
  ended         boolean     not null default false, -- by a person, not by time
  end_reason    text        not null default '',
  recorded_by   text        not null, -- who made this row true
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint agreement_is_recorded_once primary key (id, recorded_from),
  constraint agreement_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);
create unique index agreement_has_one_current_row on fact.agreement (id) where recorded_to = 'infinity';
create index agreement_by_account on fact.agreement (account) where recorded_to = 'infinity';
create index agreement_by_department on fact.agreement (department) where recorded_to = 'infinity';
create index agreement_by_start on fact.agreement (valid_from) where recorded_to = 'infinity';
create index agreement_by_end on fact.agreement (valid_to) where recorded_to = 'infinity';

-- A grant is one employee's judgement about one record.
create table fact."grant" (
  id            uuid        not null,
  entity        text        not null,
  record        uuid        not null,
  kind          text        not null constraint grant_kind_is_known check (kind in ('share', 'withhold')),
  key           text        not null constraint grant_key_names_subject_or_department check (key ~ '^[sd]:.'),
  groups        text[]      not null,
  reason        text        not null constraint grant_says_why check (reason <> ''),
  given_by      text        not null,
  suspended     boolean     not null default false, -- the giver lost access; opens nothing until reviewed
  ended         boolean     not null default false,
  end_reason    text        not null default '',
  recorded_by   text        not null,
  valid_from    timestamptz not null,
  valid_to      timestamptz not null,
  recorded_from timestamptz not null default clock_timestamp(),
  recorded_to   timestamptz not null default 'infinity',
  constraint grant_is_recorded_once primary key (id, recorded_from),
  constraint grant_ends_after_it_begins check (valid_from <= valid_to and recorded_from <= recorded_to)
);
create unique index grant_has_one_current_row on fact."grant" (id) where recorded_to = 'infinity';
create index grant_by_record on fact."grant" (record) where recorded_to = 'infinity';
create index grant_by_key on fact."grant" (key) where recorded_to = 'infinity';
create index grant_by_start on fact."grant" (valid_from) where recorded_to = 'infinity';
create index grant_by_end on fact."grant" (valid_to) where recorded_to = 'infinity';

-- What holds at the time of the statement, as recorded last.
create view fact.territory_now as
  select id, parent from fact.territory
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.segment_now as
  select id, parent from fact.segment
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.department_now as
  select id, parent from fact.department
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.subject_now as
  select id, kind, roles, clearance from fact.subject
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.assignment_now as
  select subject, tree, node from fact.assignment
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.relationship_now as
  select department, on_department, actions from fact.relationship
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
create view fact.contract_now as
  select id, destination, territories, segments, departments, groups, jurisdictions, purpose from fact.contract
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;

-- The stamp moves with every change of a fact, and by itself when the next
-- begin or end of a fact that subjects are made of passes: who was loaded
-- before boundary is not who they are after it.
alter table meridian.access_stamp add column boundary timestamptz not null default 'infinity';

-- +goose StatementBegin
-- Next begin or end, after `after`, of a fact that subjects are made of.
-- Agreements and grants are not: SQL filters read them with their times.
create function fact.next_boundary(after timestamptz) returns timestamptz language sql stable as $$
  select coalesce(min(t), 'infinity') from (
    select valid_from, valid_to from fact.territory where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.segment where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.department where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.subject where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.assignment where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.relationship where recorded_to = 'infinity'
    union all select valid_from, valid_to from fact.contract where recorded_to = 'infinity'
  ) f cross join lateral (values (f.valid_from), (f.valid_to)) b(t)
  where b.t > after
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create function fact.move_stamp() returns void language plpgsql as $$
begin
  -- The lock comes first and alone: the next statement then sees the facts of
  -- whoever held it before.
  perform from meridian.access_stamp for update;
  update meridian.access_stamp set stamp = stamp + 1, boundary = fact.next_boundary(clock_timestamp());
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Turns "the boundary has passed" into an ordinary move of the stamp.
create function fact.pass_boundary() returns boolean language plpgsql as $$
begin
  perform from meridian.access_stamp where boundary <= clock_timestamp() for update;
  if found then
    perform fact.move_stamp();
  end if;
  return found;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Facts enter the feed like records: a change of one can un-share a record.
create function fact.announce(kind text, entity text, record uuid) returns void language sql as $$
  insert into meridian.outbox (kind, entity, record_id, op, actor, execution)
  values (kind, entity, record, 'update',
    coalesce(current_setting('meridian.actor', true), ''), coalesce(current_setting('meridian.execution', true), ''))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- A change that may concern every record.
create function fact.moved() returns trigger language plpgsql as $$
begin
  if exists (select from changed) then
    perform fact.move_stamp();
    perform fact.announce(case tg_table_name when 'contract' then 'contract' else 'fact' end, '', null);
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function fact.agreement_moved() returns trigger language plpgsql as $$
begin
  if exists (select from changed) then
    perform fact.move_stamp();
    perform fact.announce('fact', 'account', c.account) from (select distinct account from changed) c;
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function fact.grant_moved() returns trigger language plpgsql as $$
begin
  if exists (select from changed) then
    perform fact.move_stamp();
    perform fact.announce('fact', c.entity, c.record) from (select distinct entity, record from changed) c;
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function fact.refuse_deletion() returns trigger language plpgsql as $$
begin
  raise exception 'facts are ended, never deleted' using errcode = 'check_violation', constraint = 'facts_are_never_deleted';
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
do $$
declare
  t text;
  f text;
begin
  foreach t in array array['territory', 'segment', 'department', 'subject', 'assignment', 'relationship', 'contract', 'agreement', 'grant'] loop
    f := case t when 'agreement' then 'agreement_moved' when 'grant' then 'grant_moved' else 'moved' end;
    execute format('create trigger inserted after insert on fact.%I referencing new table as changed for each statement execute function fact.%I()', t, f);
    execute format('create trigger updated after update on fact.%I referencing new table as changed for each statement execute function fact.%I()', t, f);
    execute format('create trigger deleted before delete or truncate on fact.%I for each statement execute function fact.refuse_deletion()', t);
  end loop;
end $$;
-- +goose StatementEnd

-- Up to when begins and ends by time alone have been announced.
create table meridian.boundary_clock (
  only_row boolean     primary key default true constraint boundary_clock_is_one_row check (only_row),
  passed   timestamptz not null default clock_timestamp()
);
insert into meridian.boundary_clock default values;

-- Who asked for what and what came of it, as pointers: ids, versions, digests.
-- No customer data.
create table meridian.decision_log (
  id        bigint      generated always as identity constraint decision_pk primary key,
  at        timestamptz not null default clock_timestamp(),
  subject   text        not null,
  action    text        not null,
  entity    text        not null,
  allowed   boolean     not null,
  records   uuid[]      not null, -- answered, or written
  versions  bigint[]    not null, -- of records, one each, or none
  refused   uuid[]      not null, -- asked for and not given
  found     bigint,               -- what a count answered
  facts     text[]      not null, -- ids of the facts behind it, where known
  reasons   text[]      not null,
  bundle    text        not null,
  stamp     bigint      not null,
  execution text        not null,
  constraint decision_versions_belong_to_records check (cardinality(versions) in (0, cardinality(records)))
);
create index decision_by_subject on meridian.decision_log (subject, at);
create index decision_by_execution on meridian.decision_log (execution);

-- +goose Down
drop table meridian.decision_log, meridian.boundary_clock;
drop schema fact cascade;
create schema fact;
alter table meridian.access_stamp drop column boundary;
