-- What tests/fixture.rs builds by hand.
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email character varying(120) UNIQUE,
    born date,
    tags text[],
    note text DEFAULT 'none',
    CONSTRAINT named CHECK (name <> '')
);
CREATE TABLE orders (
    id serial PRIMARY KEY,
    customer bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
    number integer GENERATED ALWAYS AS IDENTITY,
    price numeric(10,2) DEFAULT 0 CHECK (price >= 0),
    quantity integer DEFAULT -1,
    total numeric GENERATED ALWAYS AS (price * quantity) STORED,
    status character varying(10) DEFAULT 'new' CHECK (status IN ('new', 'paid')),
    placed timestamp(3) with time zone DEFAULT now(),
    "Odd name" boolean DEFAULT true,
    CHECK (quantity BETWEEN -1 AND 100 OR price IS NULL),
    UNIQUE (customer, number)
);
CREATE INDEX orders_placed ON orders (placed DESC NULLS LAST, price) INCLUDE (quantity) WHERE status = 'paid' AND quantity > 0;
CREATE TABLE lines (
    order_id integer,
    customer bigint,
    number integer,
    FOREIGN KEY (customer, number) REFERENCES orders (customer, number) MATCH FULL ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE VIEW cheap AS SELECT id, price FROM orders WHERE price < 10;
CREATE SEQUENCE counter AS smallint INCREMENT 5 MAXVALUE 1000 CYCLE;
COMMENT ON TABLE orders IS 'What was bought';
COMMENT ON COLUMN orders.price IS 'With tax';
