-- +goose Up
-- A share whose giver lost access is suspended; an officer may reinstate it and
-- answers for it from then on: it is not suspended again.
alter table fact."grant"
  add column reviewed_by text not null default '',
  add column review      text not null default ''; -- why it was suspended, or reinstated
create index grant_by_giver on fact."grant" (given_by) where recorded_to = 'infinity';
create index grant_suspended on fact."grant" (valid_from) where recorded_to = 'infinity' and suspended;

-- +goose Down
drop index fact.grant_suspended, fact.grant_by_giver;
alter table fact."grant" drop column review, drop column reviewed_by;
