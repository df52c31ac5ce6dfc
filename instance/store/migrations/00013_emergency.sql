-- +goose Up
-- Break-glass: a person opens one record to themselves for a while. It is a
-- grant, so that stamp, feed, boundaries and explanations know it already. A
-- limit in policy may be shorter, never longer than a day.
alter table fact."grant"
  drop constraint grant_kind_is_known,
  add constraint grant_kind_is_known check (kind in ('share', 'withhold', 'emergency')),
  add constraint emergency_is_ones_own_and_for_a_day check (
    kind <> 'emergency' or (key = 's:' || given_by and valid_to <= valid_from + interval '24 hours'));
create index grant_broken_by on fact."grant" (given_by, valid_from) where kind = 'emergency' and recorded_to = 'infinity';

-- What a reviewer needs to know of a broken glass beside the grant.
create table meridian.emergency (
  id        uuid        not null constraint emergency_pk primary key, -- of the grant
  subject   text        not null, -- who broke it
  ticket    text        not null,
  stamp     bigint      not null, -- access stamp before it: what was read under it came later
  execution text        not null,
  at        timestamptz not null default clock_timestamp(),
  constraint emergency_is_somebodys unique (id, subject)
);

-- What an officer said about it. Said once, and not by who broke the glass.
create table meridian.emergency_review (
  emergency   uuid        not null constraint emergency_is_reviewed_once primary key,
  subject     text        not null,
  verdict     text        not null constraint verdict_is_known check (verdict in ('justified', 'unjustified')),
  reason      text        not null constraint review_says_why check (reason <> ''),
  reviewed_by text        not null constraint nobody_reviews_themselves check (reviewed_by <> subject),
  execution   text        not null,
  at          timestamptz not null default clock_timestamp(),
  constraint review_of_an_emergency foreign key (emergency, subject) references meridian.emergency (id, subject)
);

-- +goose StatementBegin
create function meridian.refuse_change_of_emergency() returns trigger language plpgsql as $$
begin
  raise exception 'broken glass and its reviews are only added to' using errcode = 'check_violation', constraint = 'emergencies_are_only_added_to';
end $$;
-- +goose StatementEnd
create trigger append_only before update or delete or truncate on meridian.emergency for each statement execute function meridian.refuse_change_of_emergency();
create trigger append_only before update or delete or truncate on meridian.emergency_review for each statement execute function meridian.refuse_change_of_emergency();

-- +goose Down
drop table meridian.emergency_review, meridian.emergency;
drop function meridian.refuse_change_of_emergency();
drop index fact.grant_broken_by;
alter table fact."grant"
  drop constraint emergency_is_ones_own_and_for_a_day,
  drop constraint grant_kind_is_known,
  add constraint grant_kind_is_known check (kind in ('share', 'withhold')) not valid; -- facts are never deleted
