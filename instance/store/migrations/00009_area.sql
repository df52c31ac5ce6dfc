-- +goose Up
-- An agreement is about one account, or about an area: a territory, a segment,
-- a department whose records they are, or several of these at once.
alter table fact.agreement
  alter column account drop not null,
  add column territory     text not null default '',
  add column segment       text not null default '',
  add column on_department text not null default '',
  add constraint agreement_is_about_an_account_or_an_area check ((account is null) = (territory || segment || on_department <> ''));
create index agreement_about_areas on fact.agreement (department) where recorded_to = 'infinity' and account is null;

-- +goose StatementBegin
-- A change of an area may concern every record: the feed says null for it.
create or replace function fact.agreement_moved() returns trigger language plpgsql as $$
begin
  if exists (select from changed) then
    perform fact.move_stamp();
    perform fact.announce('fact', case when c.account is null then '' else 'account' end, c.account)
      from (select distinct account from changed) c;
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- +goose Down
alter table fact.agreement drop constraint agreement_is_about_an_account_or_an_area;
drop index fact.agreement_about_areas;
alter table fact.agreement drop column territory, drop column segment, drop column on_department;
