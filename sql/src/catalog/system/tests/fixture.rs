//! The catalog that `golden/fixture.sql` makes.

use crate::catalog::descriptor::*;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::catalog::store::Descriptor;
use crate::types::data_type::make_numeric_typmod;
use crate::types::{DataType, NO_TYPMOD};

const CUSTOMERS: Oid = 16400;
const ORDERS: Oid = 16420;
const LINES: Oid = 16440;
const ID_SEQUENCE: Oid = 16450;
const NUMBER_SEQUENCE: Oid = 16451;

fn column(id: u32, name: &str, ty: DataType) -> ColumnDescriptor {
    ColumnDescriptor {
        id,
        name: name.into(),
        ty,
        typmod: NO_TYPMOD,
        not_null: false,
        default: None,
        identity: None,
        generated: None,
        owned_sequence: None,
        missing_value: None,
        hidden: false,
        comment: None,
    }
}

fn with_default(mut column: ColumnDescriptor, default: &str) -> ColumnDescriptor {
    column.default = Some(default.into());
    column
}

fn not_null(mut column: ColumnDescriptor) -> ColumnDescriptor {
    column.not_null = true;
    column
}

fn typmod(mut column: ColumnDescriptor, typmod: i32) -> ColumnDescriptor {
    column.typmod = typmod;
    column
}

fn index(id: u32, oid: Oid, name: &str, columns: &[u32], constraint: Option<ConstraintKind>) -> IndexDescriptor {
    IndexDescriptor {
        id,
        oid,
        name: name.into(),
        unique: true,
        keys: columns.iter().map(|c| IndexKey { column: *c, descending: false, nulls_first: false }).collect(),
        include: vec![],
        predicate: None,
        state: IndexState::Public,
        constraint,
    }
}

fn check(oid: Oid, name: &str, expression: &str) -> CheckDescriptor {
    CheckDescriptor { oid, name: name.into(), expression: expression.into(), validated: true }
}

fn foreign(oid: Oid, name: &str, columns: &[u32], referenced_table: Oid, referenced: &[u32]) -> ForeignKeyDescriptor {
    ForeignKeyDescriptor {
        oid,
        name: name.into(),
        columns: columns.to_vec(),
        referenced_table,
        referenced_columns: referenced.to_vec(),
        on_delete: ReferentialAction::NoAction,
        on_update: ReferentialAction::NoAction,
        match_full: false,
        deferrable: false,
        initially_deferred: false,
        validated: true,
    }
}

fn table(columns: Vec<ColumnDescriptor>, primary: IndexDescriptor) -> TableDescriptor {
    TableDescriptor {
        next_column: columns.len() as u32 + 1,
        columns,
        primary,
        indexes: vec![],
        next_index: 10,
        checks: vec![],
        foreign_keys: vec![],
        referenced_by: vec![],
        storage_id: 20000,
    }
}

fn relation(id: Oid, name: &str, kind: RelationKind) -> Descriptor {
    Descriptor::Relation(Box::new(RelationDescriptor {
        id,
        database: DEFAULT_DATABASE_OID,
        schema: PUBLIC_SCHEMA_OID,
        name: name.into(),
        owner: ROOT_ROLE_OID,
        version: 1,
        comment: (name == "orders").then(|| "What was bought".into()),
        kind,
    }))
}

fn customers() -> TableDescriptor {
    let columns = vec![
        not_null(column(1, "id", DataType::INT8)),
        not_null(column(2, "name", DataType::TEXT)),
        typmod(column(3, "email", DataType::VARCHAR), 124),
        column(4, "born", DataType::DATE),
        column(5, "tags", DataType::TEXT_ARRAY),
        with_default(column(6, "note", DataType::TEXT), "'none'"),
    ];
    let mut table = table(columns, index(1, CUSTOMERS + 1, "customers_pkey", &[1], Some(ConstraintKind::Primary(CUSTOMERS + 2))));
    table.indexes.push(index(2, CUSTOMERS + 3, "customers_email_key", &[3], Some(ConstraintKind::Unique(CUSTOMERS + 4))));
    table.checks.push(check(CUSTOMERS + 5, "named", "name <> ''"));
    table.referenced_by.push(ORDERS);
    table
}

fn orders() -> TableDescriptor {
    let mut id = not_null(with_default(column(1, "id", DataType::INT4), "nextval('public.orders_id_seq'::regclass)"));
    id.owned_sequence = Some(ID_SEQUENCE);
    let mut number = not_null(with_default(column(3, "number", DataType::INT4), "nextval('public.orders_number_seq'::regclass)"));
    (number.owned_sequence, number.identity) = (Some(NUMBER_SEQUENCE), Some(Identity::Always));
    let mut price = typmod(with_default(column(4, "price", DataType::NUMERIC), "0"), make_numeric_typmod(10, 2));
    price.comment = Some("With tax".into());
    let mut total = column(6, "total", DataType::NUMERIC);
    total.generated = Some("price * quantity".into());
    let columns = vec![
        id,
        not_null(column(2, "customer", DataType::INT8)),
        number,
        price,
        with_default(column(5, "quantity", DataType::INT4), "-1"),
        total,
        typmod(with_default(column(7, "status", DataType::VARCHAR), "'new'"), 14),
        typmod(with_default(column(8, "placed", DataType::TIMESTAMPTZ), "now()"), 3),
        with_default(column(9, "Odd name", DataType::BOOL), "true"),
    ];
    let mut table = table(columns, index(1, ORDERS + 1, "orders_pkey", &[1], Some(ConstraintKind::Primary(ORDERS + 2))));
    table.indexes.push(index(2, ORDERS + 3, "orders_customer_number_key", &[2, 3], Some(ConstraintKind::Unique(ORDERS + 4))));
    let mut placed = index(3, ORDERS + 5, "orders_placed", &[8, 4], None);
    (placed.unique, placed.include) = (false, vec![5]);
    placed.keys[0].descending = true;
    placed.predicate = Some("status = 'paid' AND quantity > 0".into());
    table.indexes.push(placed);
    table.checks.push(check(ORDERS + 6, "orders_price_check", "price >= 0"));
    table.checks.push(check(ORDERS + 7, "orders_status_check", "status IN ('new', 'paid')"));
    table.checks.push(check(ORDERS + 8, "orders_check", "quantity BETWEEN -1 AND 100 OR price IS NULL"));
    let mut key = foreign(ORDERS + 9, "orders_customer_fkey", &[2], CUSTOMERS, &[1]);
    key.on_delete = ReferentialAction::Cascade;
    table.foreign_keys.push(key);
    table.referenced_by.push(LINES);
    table
}

fn lines() -> TableDescriptor {
    let mut rowid = not_null(with_default(column(4, "rowid", DataType::INT8), "unique_rowid()"));
    rowid.hidden = true;
    let columns =
        vec![column(1, "order_id", DataType::INT4), column(2, "customer", DataType::INT8), column(3, "number", DataType::INT4), rowid];
    let mut table = table(columns, index(1, LINES + 1, "lines_rowid_key", &[4], None));
    let mut key = foreign(LINES + 2, "lines_customer_number_fkey", &[2, 3], ORDERS, &[2, 3]);
    (key.match_full, key.deferrable, key.initially_deferred, key.on_update) = (true, true, true, ReferentialAction::SetNull);
    table.foreign_keys.push(key);
    table
}

fn sequence(ty: DataType, max: i64, owned_by: Option<(Oid, u32)>) -> SequenceDescriptor {
    SequenceDescriptor { ty, start: 1, increment: 1, min: 1, max, cache: 1, cycle: false, owned_by }
}

/// The catalog.
pub fn snapshot() -> CatalogSnapshot {
    let mut snapshot = CatalogSnapshot::default();
    let database = |id, name: &str| DatabaseDescriptor { id, name: name.into(), owner: ROOT_ROLE_OID, comment: None };
    snapshot.insert(Descriptor::Database(database(DEFAULT_DATABASE_OID, "defaultdb")));
    snapshot.insert(Descriptor::Database(database(POSTGRES_DATABASE_OID, "postgres")));
    for (id, database) in [(PUBLIC_SCHEMA_OID, DEFAULT_DATABASE_OID), (PUBLIC_SCHEMA_OID + 1, POSTGRES_DATABASE_OID)] {
        let comment = Some("standard public schema".into());
        snapshot.insert(Descriptor::Schema(SchemaDescriptor { id, database, name: "public".into(), owner: ROOT_ROLE_OID, comment }));
    }
    snapshot.insert(Descriptor::Role(RoleDescriptor {
        id: ROOT_ROLE_OID,
        name: "root".into(),
        superuser: true,
        create_db: true,
        create_role: true,
        login: true,
        verifier: None,
        connection_limit: -1,
    }));
    let i32_max = i64::from(i32::MAX);
    snapshot.insert(relation(CUSTOMERS, "customers", RelationKind::Table(customers())));
    snapshot.insert(relation(ORDERS, "orders", RelationKind::Table(orders())));
    snapshot.insert(relation(LINES, "lines", RelationKind::Table(lines())));
    snapshot.insert(relation(ID_SEQUENCE, "orders_id_seq", RelationKind::Sequence(sequence(DataType::INT4, i32_max, Some((ORDERS, 1))))));
    snapshot.insert(relation(
        NUMBER_SEQUENCE,
        "orders_number_seq",
        RelationKind::Sequence(sequence(DataType::INT4, i32_max, Some((ORDERS, 3)))),
    ));
    let mut counter = sequence(DataType::INT2, 1000, None);
    (counter.increment, counter.cycle) = (5, true);
    snapshot.insert(relation(16460, "counter", RelationKind::Sequence(counter)));
    let columns = vec![column(1, "id", DataType::INT4), typmod(column(2, "price", DataType::NUMERIC), make_numeric_typmod(10, 2))];
    let query = "SELECT orders.id, orders.price FROM public.orders WHERE orders.price < 10".into();
    snapshot.insert(relation(16470, "cheap", RelationKind::View(ViewDescriptor { columns, query, depends_on: vec![ORDERS] })));
    snapshot
}
