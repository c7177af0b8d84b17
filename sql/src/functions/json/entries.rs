//! The table of this topic.

use super::*;
use crate::functions::args::{Entry, boolean, i4, opt, record, s};
use crate::functions::compare::six;
use crate::functions::sets::set;
use crate::functions::strings::t;

/// Comparison operators of `jsonb`.
pub(in crate::functions) const COMPARISON: &[Entry] = six! {
    "jsonb_eq" "jsonb_ne" "jsonb_lt" "jsonb_le" "jsonb_gt" "jsonb_ge": |x| jsonb(&x[0])?.cmp(jsonb(&x[1])?);
};

pub(in crate::functions) const ENTRIES: &[Entry] = &[
    s("json_object_field", |_, x| Ok(raw::get(text(&x[0])?, text(&x[1])?).map_or(Datum::Null, js))),
    s("json_object_field_text", |_, x| Ok(json_text(raw::get(text(&x[0])?, text(&x[1])?)))),
    s("json_array_element", |_, x| Ok(raw::get_index(text(&x[0])?, i4(&x[1])?.into()).map_or(Datum::Null, js))),
    s("json_array_element_text", |_, x| Ok(json_text(raw::get_index(text(&x[0])?, i4(&x[1])?.into())))),
    s("json_extract_path", |_, x| Ok(json_path(x)?.map_or(Datum::Null, js))),
    s("json_extract_path_text", |_, x| Ok(json_text(json_path(x)?))),
    s("jsonb_object_field", |_, x| Ok(found(jsonb(&x[0])?.get(text(&x[1])?)))),
    s("jsonb_object_field_text", |_, x| Ok(jsonb(&x[0])?.get(text(&x[1])?).map_or(Datum::Null, as_text))),
    s("jsonb_array_element", |_, x| Ok(found(jsonb(&x[0])?.get_index(i4(&x[1])?.into())))),
    s("jsonb_array_element_text", |_, x| Ok(jsonb(&x[0])?.get_index(i4(&x[1])?.into()).map_or(Datum::Null, as_text))),
    s("jsonb_extract_path", |_, x| Ok(found(jsonb_path(x)?))),
    s("jsonb_extract_path_text", |_, x| Ok(jsonb_path(x)?.map_or(Datum::Null, as_text))),
    s("jsonb_contains", |_, x| Ok(Datum::Bool(jsonb(&x[0])?.contains(jsonb(&x[1])?)))),
    s("jsonb_contained", |_, x| Ok(Datum::Bool(jsonb(&x[1])?.contains(jsonb(&x[0])?)))),
    s("jsonb_exists", |_, x| Ok(Datum::Bool(jsonb(&x[0])?.exists(text(&x[1])?)))),
    s("jsonb_exists_any", |_, x| {
        let j = jsonb(&x[0])?;
        Ok(Datum::Bool(keys(&x[1])?.iter().any(|k| j.exists(k))))
    }),
    s("jsonb_exists_all", |_, x| {
        let j = jsonb(&x[0])?;
        Ok(Datum::Bool(keys(&x[1])?.iter().all(|k| j.exists(k))))
    }),
    s("jsonb_concat", |_, x| Ok(jb(jsonb(&x[0])?.concat(jsonb(&x[1])?)))),
    s("jsonb_delete", |_, x| jsonb(&x[0])?.delete_key(text(&x[1])?).map(jb)),
    s("jsonb_delete_array", |_, x| keys(&x[1])?.iter().try_fold((**jsonb(&x[0])?).clone(), |j, k| j.delete_key(k)).map(jb)),
    s("jsonb_delete_idx", |_, x| jsonb(&x[0])?.delete_index(i4(&x[1])?.into()).map(jb)),
    s("jsonb_delete_path", |_, x| jsonb(&x[0])?.delete_path(&steps(x, "delete path in")?).map(jb)),
    s("jsonb_set", |_, x| {
        let create = opt(x, 3).map(boolean).transpose()?.unwrap_or(true);
        jsonb(&x[0])?.set_path(&steps(x, "set path in")?, jsonb(&x[2])?, ops::PathChange::Set { create }).map(jb)
    }),
    s("jsonb_insert", |_, x| {
        let after = opt(x, 3).map(boolean).transpose()?.unwrap_or(false);
        jsonb(&x[0])?.set_path(&steps(x, "set path in")?, jsonb(&x[2])?, ops::PathChange::Insert { after }).map(jb)
    }),
    s("jsonb_typeof", |_, x| Ok(txt(jsonb(&x[0])?.type_name()))),
    s("json_typeof", |_, x| Ok(txt(raw::type_name(text(&x[0])?)))),
    s("jsonb_pretty", |_, x| {
        let mut out = String::new();
        jsonb(&x[0])?.write_pretty(&mut out, 0);
        Ok(txt(out))
    }),
    s("jsonb_strip_nulls", |_, x| Ok(jb(jsonb(&x[0])?.strip_nulls()))),
    s("json_strip_nulls", |_, x| {
        let mut out = String::new();
        strip_nulls_text(text(&x[0])?, &mut out);
        Ok(js(out))
    }),
    s("jsonb_array_length", |_, x| {
        let a = match &**jsonb(&x[0])? {
            Jsonb::Array(a) => a.len(),
            Jsonb::Object(_) => return wrong("cannot get array length of a non-array".into()),
            _ => return wrong("cannot get array length of a scalar".into()),
        };
        Ok(Datum::Int4(a as i32))
    }),
    s("json_array_length", |_, x| {
        let v = text(&x[0])?;
        match raw::type_name(v) {
            "array" => Ok(Datum::Int4(raw::elements(v).unwrap_or_default().len() as i32)),
            "object" => wrong("cannot get array length of a non-array".into()),
            _ => wrong("cannot get array length of a scalar".into()),
        }
    }),
    t("to_json", |c, ty, x| {
        let mut out = String::new();
        write_json(Io::from(&*c), type_at(ty, 0), &x[0], &mut out);
        Ok(js(out))
    }),
    t("to_jsonb", |c, ty, x| to_jsonb(Io::from(&*c), type_at(ty, 0), &x[0]).map(jb)),
    s("array_to_json", |c, x| {
        let mut out = String::new();
        write_array(Io::from(&*c), array(&x[0])?, &mut out, false);
        Ok(js(out))
    }),
    s("array_to_json_pretty", |c, x| {
        let mut out = String::new();
        write_array(Io::from(&*c), array(&x[0])?, &mut out, boolean(&x[1])?);
        Ok(js(out))
    }),
    s("row_to_json", |c, x| {
        let mut out = String::new();
        write_record(Io::from(&*c), record(&x[0])?, &mut out, false);
        Ok(js(out))
    }),
    s("row_to_json_pretty", |c, x| {
        let mut out = String::new();
        write_record(Io::from(&*c), record(&x[0])?, &mut out, boolean(&x[1])?);
        Ok(js(out))
    }),
    t("json_of_row", |c, ty, x| Ok(row_object(Io::from(&*c), ty, x))),
    t("json_build_object", |c, ty, x| build_object(Io::from(&*c), ty, x)),
    s("json_build_object_noargs", |_, _| Ok(js("{}"))),
    t("json_build_array", |c, ty, x| Ok(build_array(Io::from(&*c), ty, x))),
    s("json_build_array_noargs", |_, _| Ok(js("[]"))),
    t("jsonb_build_object", |c, ty, x| build_object_b(Io::from(&*c), ty, x)),
    s("jsonb_build_object_noargs", |_, _| Ok(jb(Jsonb::Object(vec![])))),
    t("jsonb_build_array", |c, ty, x| {
        let items = x.iter().enumerate().map(|(i, d)| to_jsonb(Io::from(&*c), type_at(ty, i), d)).collect::<Result<_>>()?;
        Ok(jb(Jsonb::Array(items)))
    }),
    s("jsonb_build_array_noargs", |_, _| Ok(jb(Jsonb::Array(vec![])))),
    s("json_object", |_, x| object_from_text(x)),
    s("json_object_two_arg", |_, x| object_from_text(x)),
    s("jsonb_object", |_, x| object_from_text_b(x)),
    s("jsonb_object_two_arg", |_, x| object_from_text_b(x)),
    set("json_array_elements", |_, x, e| elements(text(&x[0])?, "json_array_elements")?.into_iter().try_for_each(|v| e(vec![js(v)]))),
    set("json_array_elements_text", |_, x, e| {
        elements(text(&x[0])?, "json_array_elements_text")?.into_iter().try_for_each(|v| e(vec![json_text(Some(v))]))
    }),
    set("jsonb_array_elements", |_, x, e| {
        elements_b(jsonb(&x[0])?, "extract elements from")?.iter().try_for_each(|v| e(vec![jb(v.clone())]))
    }),
    set("jsonb_array_elements_text", |_, x, e| {
        elements_b(jsonb(&x[0])?, "extract elements from")?.iter().try_for_each(|v| e(vec![as_text(v)]))
    }),
    set("json_object_keys", |_, x, e| members(text(&x[0])?, "json_object_keys")?.into_iter().try_for_each(|(k, _)| e(vec![txt(k)]))),
    set("jsonb_object_keys", |_, x, e| members_b(jsonb(&x[0])?, "jsonb_object_keys")?.iter().try_for_each(|(k, _)| e(vec![txt(k)]))),
    set("json_each", |_, x, e| members(text(&x[0])?, "json_each")?.into_iter().try_for_each(|(k, v)| e(vec![txt(k), js(v)]))),
    set("json_each_text", |_, x, e| {
        members(text(&x[0])?, "json_each_text")?.into_iter().try_for_each(|(k, v)| e(vec![txt(k), json_text(Some(v))]))
    }),
    set("jsonb_each", |_, x, e| members_b(jsonb(&x[0])?, "jsonb_each")?.iter().try_for_each(|(k, v)| e(vec![txt(k), jb(v.clone())]))),
    set("jsonb_each_text", |_, x, e| {
        members_b(jsonb(&x[0])?, "jsonb_each_text")?.iter().try_for_each(|(k, v)| e(vec![txt(k), as_text(v)]))
    }),
];
