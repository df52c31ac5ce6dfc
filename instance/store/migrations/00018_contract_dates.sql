-- +goose Up
-- When a contract is in force goes with it to policy, which lets nothing leave
-- beyond it, whatever the rules say.
create or replace view fact.contract_now as
  select id, destination, territories, segments, departments, groups, jurisdictions, purpose, valid_from, valid_to from fact.contract
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;

-- +goose Down
drop view fact.contract_now;
create view fact.contract_now as
  select id, destination, territories, segments, departments, groups, jurisdictions, purpose from fact.contract
  where recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to;
