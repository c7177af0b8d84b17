-- A small shop, spread over regions: what scripts/cluster loads.
create table if not exists customers (
    customer_id int primary key,
    name        text not null,
    region      text not null,
    created_at  timestamptz not null default now()
);
create table if not exists products (
    product_id int primary key,
    name       text not null unique,
    price      numeric(10, 2) not null check (price >= 0)
);
create table if not exists orders (
    order_id    bigint primary key,
    customer_id int not null references customers,
    ordered_on  date not null,
    total       numeric(12, 2) not null default 0
);
create index if not exists orders_by_customer on orders (customer_id, ordered_on desc);
create table if not exists order_lines (
    order_id   bigint references orders on delete cascade,
    line       int,
    product_id int not null references products,
    quantity   int not null check (quantity > 0),
    primary key (order_id, line)
);
begin;
insert into customers (customer_id, name, region)
    select i, 'Customer ' || i, (array['us-east', 'eu-west', 'ap-south'])[1 + i % 3] from generate_series(1, 300) i
    on conflict do nothing;
insert into products select i, 'Product ' || i, (i * 7 % 100) + 0.99 from generate_series(1, 50) i on conflict do nothing;
insert into orders (order_id, customer_id, ordered_on)
    select i, 1 + i % 300, date '2026-01-01' + (i % 300) from generate_series(1, 1000) i on conflict do nothing;
insert into order_lines
    select o, l, 1 + (o * 3 + l) % 50, 1 + (o + l) % 5 from generate_series(1, 1000) o, generate_series(1, 3) l on conflict do nothing;
update orders set total = s.total
    from (select order_id, sum(quantity * price) as total from order_lines join products using (product_id) group by order_id) s
    where orders.order_id = s.order_id;
commit;
