//! stub until the system builder lands
use std::sync::Arc;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::catalog::descriptor::Oid;
use crate::error::Result;
use crate::functions::{CatalogLookup, SessionView};
use crate::types::Datum;
pub fn find(_s: &str, _n: &str) -> Option<crate::plan::SystemTable> { None }
pub struct Lookup { catalog: Arc<CatalogSnapshot>, database: Oid }
impl Lookup { pub fn new(catalog: Arc<CatalogSnapshot>, database: Oid) -> Self { Lookup { catalog, database } } }
impl CatalogLookup for Lookup {
    fn relation_oid(&self, name: &str, search_path: &[String]) -> Option<u32> {
        let name = name.replace('"', "");
        let (schema, last) = match name.rsplit_once('.') { Some((s, l)) => (Some(s.to_owned()), l.to_owned()), None => (None, name.clone()) };
        let find = |s: &str| self.catalog.relation_named(self.catalog.schema_named(self.database, s)?, &last).map(|r| r.id);
        match schema { Some(s) => find(&s), None => search_path.iter().find_map(|s| find(s)) }
    }
    fn relation_name(&self, oid: u32, _p: &[String]) -> Option<String> { self.catalog.relations.get(&oid).map(|r| r.name.clone()) }
    fn schema_oid(&self, name: &str) -> Option<u32> { self.catalog.schema_named(self.database, name) }
    fn schema_name(&self, oid: u32) -> Option<String> { self.catalog.schemas.get(&oid).map(|s| s.name.clone()) }
    fn role_oid(&self, _n: &str) -> Option<u32> { None }
    fn role_name(&self, _o: u32) -> Option<String> { None }
    fn definition(&self, _w: &str, _o: u32, _c: i32) -> Option<String> { None }
    fn system_function(&self, _n: &str, _a: &[Datum]) -> Option<Result<Datum>> { None }
}
pub trait SystemExtras: Send + Sync {}
pub struct SystemCatalog;
impl std::fmt::Debug for SystemCatalog { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("SystemCatalog") } }
#[async_trait::async_trait]
impl crate::exec::SystemTables for SystemCatalog {
    async fn rows(&self, _t: &'static str, _c: &Arc<CatalogSnapshot>, _s: &SessionView) -> Result<Vec<Vec<Datum>>> { Ok(vec![]) }
}
