-- INSERT, UPDATE, DELETE, ON CONFLICT, RETURNING, row locks, constraints' errors, prepared statements, parameters.
create table p (id int primary key, name text not null, qty int default 5, price numeric(8,2) check (price > 0), code varchar(5) unique);
insert into p (id, name) values (1, 'one');
insert into p values (2, 'two', 7, 1.005, 'c2'), (3, 'three', default, 2, 'c3');
insert into p (name, id) values ('four', 4) returning *;
insert into p (id, name, price) values (5, 'five', 9.999) returning id, price, qty * 2 as dbl, name || '!' as n;
insert into p select g, 'g' || g from generate_series(10, 14) g;
insert into p default values;
insert into p (id, name) values (1, 'dup');
insert into p (id, name, code) values (6, 'six', 'c2');
insert into p (id) values (7);
insert into p (id, name, price) values (8, 'eight', -1);
insert into p (id, name, code) values (8, 'eight', 'toolong');
insert into p (id, name, price) values (8, 'eight', 1e10);
insert into p (id, name) values ('x', 'y');
insert into p (id, name) values (20, 'a', 3);
insert into p (id, name, qty) values (20, 'a');
insert into p (id, nocol) values (1, 2);
insert into p (id, id) values (1, 2);
insert into nope values (1);
insert into p (id, name) values (2147483648, 'big');
insert into p (id, name, qty) values (30, 'thirty', '12'), (31, 'x', 3.6);
insert into p (id, name, qty) values (32, 'x', true);
insert into p (id, name) values (33, 12), (34, true);
insert into p (id, name) select id + 100, name from p where id < 3 returning id, name;
insert into p (id, name) values (1, 'x') on conflict do nothing;
insert into p (id, name) values (1, 'x') on conflict (id) do nothing returning id;
insert into p (id, name) values (1, 'uno') on conflict (id) do update set name = excluded.name returning *;
insert into p (id, name, qty) values (1, 'x', 100), (40, 'forty', 40) on conflict (id) do update set qty = p.qty + excluded.qty returning id, name, qty;
insert into p as q (id, name, qty) values (1, 'y', 1) on conflict (id) do update set qty = q.qty + 1 where q.qty > 1000 returning id;
insert into p (id, name, code) values (50, 'x', 'c2') on conflict (code) do update set name = 'code ' || excluded.code returning id, name;
insert into p (id, name, code) values (51, 'x', 'c3') on conflict on constraint p_code_key do update set qty = 0 returning id, qty;
insert into p (id, name, code) values (1, 'x', 'c3') on conflict (id) do update set code = 'c2';
insert into p (id, name) values (60, 'a'), (60, 'b') on conflict (id) do update set name = excluded.name;
insert into p (id, name) values (61, 'a'), (61, 'b') on conflict (id) do nothing;
insert into p (id, name) values (1, 'x') on conflict (name) do nothing;
insert into p (id, name) values (1, 'x') on conflict on constraint nope do nothing;
insert into p (id, name) values (1, 'x') on conflict (id) do update set nocol = 1;
insert into p (id, name) values (1, 'x') on conflict do update set name = 'z';
select * from p order by id;
update p set qty = 1 where id = 2;
update p set qty = qty + 10, name = upper(name) where id in (2, 3) returning id, name, qty;
update p set qty = default where id = 2 returning qty;
update p set (qty, price) = (9, 9.5) where id = 2 returning qty, price;
update p set (qty, name) = (select max(qty), 'best' from p) where id = 3 returning *;
update p set qty = null where id = 3 returning qty;
update p set name = null where id = 3;
update p set id = 1 where id = 2;
update p set id = id + 1000 where id >= 10 and id < 15;
update p set price = 0 where id = 2;
update p set nocol = 1;
update p set qty = 1, qty = 2;
update p set qty = 'x';
update p set qty = name;
update p set qty = 5 where id = 999;
update p x set qty = y.qty + 1 from p y where y.id = 1 and x.id = 2 returning x.id, x.qty, y.id;
update p set name = v.n from (values (1, 'v1'), (2, 'v2')) v (id, n) where p.id = v.id returning p.id, p.name;
update p set qty = (select count(*) from p) where id = 1 returning qty;
update p set qty = qty where false;
update p set id = id + 1 where id > 1000 and id < 2000;
update p set p.qty = 1;
delete from p where id = 1014 returning *;
delete from p where id = 999;
delete from p using (values (1013), (1012)) v (id) where p.id = v.id returning p.id;
delete from p a using p b where a.id = b.id + 1 and a.id > 100 returning a.id, b.id;
delete from p where nocol = 1;
delete from p where id in (select id from p where id > 1000);
select id, name, qty, price, code from p order by id;
-- keys that move, composite keys, swaps
create table k (a int, b text, c int, primary key (a, b));
insert into k values (1, 'a', 1), (1, 'b', 2), (2, 'a', 3);
insert into k values (1, 'a', 9);
insert into k values (null, 'a', 9);
insert into k values (1, 'a', 9) on conflict (a, b) do update set c = k.c * 10 + excluded.c returning *;
update k set a = a + 1 where b = 'b';
update k set b = 'a' where a = 2 and b = 'b';
delete from k where (a, b) = (2, 'a') returning c;
select * from k order by a, b;
-- foreign keys
create table parent (id int primary key, v text);
create table child (id int primary key, pid int references parent (id) on delete cascade, x int);
create table child2 (id int primary key, pid int references parent (id));
insert into parent values (1, 'a'), (2, 'b'), (3, 'c');
insert into child values (1, 1, 1), (2, 2, 2), (3, null, 3);
insert into child2 values (1, 3);
insert into child values (4, 9, 4);
update child set pid = 7 where id = 1;
delete from parent where id = 3;
delete from parent where id = 1;
update parent set id = 30 where id = 3;
select * from child order by id;
truncate parent;
-- serial, identity, generated defaults
create table ser (id serial primary key, i int generated always as identity, v text default 'dflt' || 1, ts timestamptz default now());
insert into ser (v) values ('a'), ('b') returning id, i, v;
insert into ser (id, v) values (default, default) returning id, i, v;
insert into ser (i) values (5);
insert into ser (i) overriding system value values (55) returning id, i;
select currval('ser_id_seq'), lastval() is not null;
select nextval('ser_id_seq');
select setval('ser_id_seq', 100), nextval('ser_id_seq');
select nextval('nope_seq');
-- row locks
begin;
select id from p where id = 1 for update;
select id from p where id = 2 for share;
select id from p where id < 3 order by id for update skip locked;
select id from p where id = 1 for no key update;
select id from p where id = 1 for key share nowait;
commit;
select count(*) from p for update;
select 1 for update;
select distinct id from p for update;
select id from p union select 1 for update;
select id from p group by id for update;
select p.id from p for update of nope;
begin;
select id from p where id = 1 for update;
-- session: b
select id from p where id in (1, 2) order by id for update skip locked;
select id from p where id = 1 for update nowait;
set lock_timeout = '100ms';
update p set qty = 0 where id = 1;
-- session: main
rollback;
-- prepared statements
prepare one as select 1 as x;
execute one;
prepare one as select 2;
prepare byid (int) as select id, name from p where id = $1;
execute byid (1);
execute byid ('2');
execute byid (1, 2);
execute byid;
execute byid ('x');
prepare infer as select id from p where name = $1 and qty > $2 order by id;
execute infer ('v1', 0);
prepare ins (int, text) as insert into p (id, name) values ($1, $2) returning id, name;
execute ins (70, 'seventy');
execute ins (70, 'seventy');
execute nope (1);
deallocate one;
execute one;
deallocate nope;
prepare bad as select $1;
execute bad ('z');
prepare bad2 as select * from nope;
deallocate all;
execute byid (1);
-- parameters by the extended protocol
-- params: 1
select id, name from p where id = $1;
-- params: 1 | 2
select $1 + $2;
-- params: 1 | 2
select $1::int + $2 as s;
-- params: 3 | abc
select $1::int, $2::text || '!', $1 * 2;
-- params: \N
select $1::int is null, coalesce($1, 5);
-- params: 5
select id from p where id > $1 order by id limit 2;
-- params: 2
select id from p order by id limit $1;
-- params: {1,2}
select id from p where id = any ($1) order by id;
-- params: 80 | eighty | 1.50
insert into p (id, name, price) values ($1, $2, $3) returning *;
-- params: 5 | 80
update p set qty = qty + $1 where id = $2 returning qty;
-- params: 80
delete from p where id = $1;
-- params: x
select id from p where id = $1;
-- params: 1
select $1;
-- params: a%
select id, name from p where name like $1 order by id;
-- params: 2020-01-01
select $1::date + 1, $1;
-- params: 1 day
select date '2020-01-01' + $1;
-- params: 1
select case when $1 then 2 end;
-- params: 1 | 2 | 3
select id from p where id in ($1, $2, $3) order by id;
-- params: v1
select length($1), upper($1);
-- params: 1.5
select round($1, 1), $1;
-- params: 1
select $1, $2;
-- params: 3
select * from generate_series(1, $1);
-- params: 1 | 2
values ($1, $2);
-- params: a
select concat('x', $1::text), $1 || 'b';
-- params: a
select concat('x', $1), $1 || 'b';
-- params: 1
select id from p where ($1 is null or id = $1) order by id;
explain select * from p where id = 1 order by nocol;
select count(*) > 0 from p;
