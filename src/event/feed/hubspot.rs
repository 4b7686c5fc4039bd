//! HubSpot's webhooks:
//! <https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide>. A message is an
//! array of events; each says one property of one object, a creation, a deletion, a restoration, a
//! merge or an association. Objects have names of their own (`deal.propertyChange`), or a type's
//! number (`object.propertyChange` with `objectTypeId`). Property changes are dated one by one;
//! `eventId` is not unique, and is not needed.

use serde_json::{Map, Value as Json, json};

use super::{Change, Clock, Row, member, micros, not_an_event, text_member, whole};
use crate::event::decode::{Bad, Reason, short};

/// The names of types by their numbers:
/// <https://developers.hubspot.com/docs/guides/api/crm/understanding-the-crm>.
const TYPES: [(&str, &str); 9] = [
    ("0-1", "contact"),
    ("0-2", "company"),
    ("0-3", "deal"),
    ("0-5", "ticket"),
    ("0-7", "product"),
    ("0-8", "line_item"),
    ("0-53", "invoice"),
    ("0-101", "commerce_payment"),
    ("0-136", "lead"),
];

pub(super) fn rows(item: Json) -> Result<Vec<Row>, Bad> {
    let kind = text_member(&item, "subscriptionType")
        .ok_or_else(|| not_an_event("there is no `subscriptionType`"))?;
    let (object, what) = kind
        .split_once('.')
        .ok_or_else(|| not_an_event(format!("`subscriptionType` is `{}`", short(kind))))?;
    let table = match object {
        "object" => {
            let number = text_member(&item, "objectTypeId")
                .ok_or_else(|| not_an_event("there is no `objectTypeId`"))?;
            let named = TYPES.iter().find(|(known, _)| *known == number);
            named.map_or(number, |(_, name)| name)
        }
        name => name,
    }
    .to_owned();
    let clock = Clock {
        time: item.get("occurredAt").and_then(whole).and_then(micros),
        sequence: 0,
    };
    let row = |id: String, change, more: Map<String, Json>| {
        let mut columns = more;
        columns.insert("objectId".into(), Json::String(id));
        Row {
            table: table.clone(),
            change,
            columns: Json::Object(columns),
            clock,
        }
    };
    let id = |name: &str| item.get(name).and_then(whole).map(|id| id.to_string());
    let object_id =
        || id("objectId").ok_or_else(|| Bad::new(Reason::MissingId, "there is no `objectId`"));
    match what {
        "propertyChange" => {
            let name = text_member(&item, "propertyName")
                .ok_or_else(|| not_an_event("there is no `propertyName`"))?;
            let value = item.get("propertyValue").cloned().unwrap_or_default();
            let columns = Map::from_iter([(name.to_owned(), value)]);
            Ok(vec![row(object_id()?, Change::Altered, columns)])
        }
        "creation" => {
            let created = item.get("occurredAt").cloned().unwrap_or_default();
            let columns = Map::from_iter([("createdAt".to_owned(), created)]);
            Ok(vec![row(object_id()?, Change::Altered, columns)])
        }
        "restore" => Ok(vec![row(object_id()?, Change::Written, Map::new())]),
        "deletion" | "privacyDeletion" => Ok(vec![row(object_id()?, Change::Deleted, Map::new())]),
        "merge" => {
            // A merge may make a new object, which both become.
            let survivor = id("newObjectId").or_else(|| id("primaryObjectId"));
            let survivor =
                survivor.ok_or_else(|| not_an_event("a merge without `primaryObjectId`"))?;
            let mut merged: Vec<String> = member(&item, "mergedObjectIds")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter_map(|id| whole(id).map(|id| id.to_string()))
                .collect();
            merged.extend(id("primaryObjectId"));
            merged.sort_unstable();
            merged.dedup();
            merged.retain(|id| *id != survivor);
            let rows = merged.into_iter();
            Ok(rows
                .map(|id| row(id, Change::MergedInto(survivor.clone()), Map::new()))
                .collect())
        }
        "associationChange" => {
            let kind = text_member(&item, "associationType")
                .ok_or_else(|| not_an_event("there is no `associationType`"))?;
            let from = id("fromObjectId")
                .ok_or_else(|| Bad::new(Reason::MissingId, "there is no `fromObjectId`"))?;
            let is_removed = item.get("associationRemoved") == Some(&Json::Bool(true));
            let to = id("toObjectId").filter(|_| !is_removed);
            let columns = Map::from_iter([(kind.to_lowercase(), json!(to))]);
            Ok(vec![row(from, Change::Altered, columns)])
        }
        _ => Err(not_an_event(format!(
            "`subscriptionType` is `{}`",
            short(kind)
        ))),
    }
}
