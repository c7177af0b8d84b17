//! The tables (1.4.1) and indexes on foreign keys (1.5.4), without which some queries take a server hours.

/// Statements that make the schema; harmless if it is there.
pub const CREATE: [&str; 14] = [
    "create table if not exists region (r_regionkey int primary key, r_name char(25) not null, r_comment varchar(152))",
    "create table if not exists nation (n_nationkey int primary key, n_name char(25) not null, n_regionkey int not null, n_comment varchar(152))",
    "create table if not exists part (p_partkey int primary key, p_name varchar(55) not null, p_mfgr char(25) not null, p_brand char(10) not null, \
     p_type varchar(25) not null, p_size int not null, p_container char(10) not null, p_retailprice decimal(15,2) not null, \
     p_comment varchar(23) not null)",
    "create table if not exists supplier (s_suppkey int primary key, s_name char(25) not null, s_address varchar(40) not null, \
     s_nationkey int not null, s_phone char(15) not null, s_acctbal decimal(15,2) not null, s_comment varchar(101) not null)",
    "create table if not exists partsupp (ps_partkey int, ps_suppkey int, ps_availqty int not null, ps_supplycost decimal(15,2) not null, \
     ps_comment varchar(199) not null, primary key (ps_partkey, ps_suppkey))",
    "create table if not exists customer (c_custkey int primary key, c_name varchar(25) not null, c_address varchar(40) not null, \
     c_nationkey int not null, c_phone char(15) not null, c_acctbal decimal(15,2) not null, c_mktsegment char(10) not null, \
     c_comment varchar(117) not null)",
    "create table if not exists orders (o_orderkey int8 primary key, o_custkey int not null, o_orderstatus char(1) not null, \
     o_totalprice decimal(15,2) not null, o_orderdate date not null, o_orderpriority char(15) not null, o_clerk char(15) not null, \
     o_shippriority int not null, o_comment varchar(79) not null)",
    "create table if not exists lineitem (l_orderkey int8, l_partkey int not null, l_suppkey int not null, l_linenumber int, \
     l_quantity decimal(15,2) not null, l_extendedprice decimal(15,2) not null, l_discount decimal(15,2) not null, l_tax decimal(15,2) not null, \
     l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null, l_commitdate date not null, l_receiptdate date not null, \
     l_shipinstruct char(25) not null, l_shipmode char(10) not null, l_comment varchar(44) not null, primary key (l_orderkey, l_linenumber))",
    "create index if not exists nation_region on nation (n_regionkey)",
    "create index if not exists supplier_nation on supplier (s_nationkey)",
    "create index if not exists partsupp_supplier on partsupp (ps_suppkey)",
    "create index if not exists customer_nation on customer (c_nationkey)",
    "create index if not exists orders_customer on orders (o_custkey)",
    "create index if not exists lineitem_part on lineitem (l_partkey, l_suppkey)",
];
