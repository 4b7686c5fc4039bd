//! The schemas of Avro as what is needed to read by them: every name resolved, and never deeper or
//! larger than a message may make us go.

use apache_avro::schema::{
    DecimalSchema, InnerDecimalSchema, NamesRef, ResolvedSchema, Schema as Parsed, UuidSchema,
};
use serde_json::Value as Json;

use crate::event::feed::document::DEPTH;
use crate::event::feed::protobuf;

/// How many types a schema may have, with each named type counted wherever it is used.
const TYPES: usize = 20_000;

/// How a value is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Flag,
    /// `int` and `long`, and the times and dates that are written as these.
    Whole,
    Float,
    Double,
    Bytes,
    Text,
    /// So many bytes.
    Fixed(usize),
    Uuid,
    /// The unscaled number as bytes: as many as it says, or so many.
    Decimal {
        scale: i64,
        size: Option<usize>,
    },
    /// One of these words.
    Name(Vec<String>),
    Union(Vec<Type>),
    List(Box<Type>),
    Map(Box<Type>),
    Record(Vec<(String, Type)>),
}

/// A schema, ready to read messages by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema(pub(super) Written);

/// What a schema is written in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    Avro(Type),
    Protobuf(protobuf::Schema),
}

impl Schema {
    /// A schema from its text and those that it refers to.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn parse(text: &str, references: &[String]) -> Result<Schema, String> {
        let text = without_defaults(text)?;
        let references = references.iter().map(|text| without_defaults(text));
        let references = references.collect::<Result<Vec<_>, _>>()?;
        let parsed = Parsed::parse_str_with_list(&text, &references);
        let (root, others) = parsed.map_err(|error| error.to_string())?;
        let all = others.iter().chain([&root]).collect();
        let resolved = ResolvedSchema::new_with_schemata(all).map_err(|error| error.to_string())?;
        let mut compiler = Compiler {
            names: resolved.get_names(),
            types: TYPES,
        };
        Ok(Schema(Written::Avro(compiler.compile(&root, None, DEPTH)?)))
    }

    /// A schema of Protobuf from its text and those that it imports, each by the name it is
    /// imported by.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn protobuf(text: &str, imports: &[(String, String)]) -> Result<Schema, String> {
        Ok(Schema(Written::Protobuf(protobuf::Schema::parse(
            text, imports,
        )?)))
    }

    /// The encoding of its messages, as the configuration calls it.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Written::Avro(_) => "avro",
            Written::Protobuf(_) => "protobuf",
        }
    }
}

/// A schema without the defaults of its fields: they are for readers with another schema, and some
/// writers' defaults are refused by the parser.
fn without_defaults(text: &str) -> Result<String, String> {
    fn strip(value: &mut Json) {
        match value {
            Json::Object(members) => {
                members.shift_remove("default");
                members.values_mut().for_each(strip);
            }
            Json::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut schema: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    strip(&mut schema);
    Ok(schema.to_string())
}

struct Compiler<'s> {
    names: &'s NamesRef<'s>,
    /// How many more types there may be.
    types: usize,
}

impl Compiler<'_> {
    fn compile(
        &mut self,
        schema: &Parsed,
        namespace: Option<&str>,
        depth: usize,
    ) -> Result<Type, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!(
                "it contains itself, or is deeper than {DEPTH} types in each other"
            ));
        };
        let Some(types) = self.types.checked_sub(1) else {
            return Err(format!("it has more than {TYPES} types"));
        };
        self.types = types;
        Ok(match schema {
            Parsed::Null => Type::Null,
            Parsed::Boolean => Type::Flag,
            Parsed::Int
            | Parsed::Long
            | Parsed::Date
            | Parsed::TimeMillis
            | Parsed::TimeMicros
            | Parsed::TimestampMillis
            | Parsed::TimestampMicros
            | Parsed::TimestampNanos
            | Parsed::LocalTimestampMillis
            | Parsed::LocalTimestampMicros
            | Parsed::LocalTimestampNanos => Type::Whole,
            Parsed::Float => Type::Float,
            Parsed::Double => Type::Double,
            Parsed::Bytes | Parsed::BigDecimal | Parsed::Uuid(UuidSchema::Bytes) => Type::Bytes,
            Parsed::String | Parsed::Uuid(UuidSchema::String) => Type::Text,
            Parsed::Uuid(UuidSchema::Fixed(fixed)) if fixed.size == 16 => Type::Uuid,
            Parsed::Fixed(fixed)
            | Parsed::Duration(fixed)
            | Parsed::Uuid(UuidSchema::Fixed(fixed)) => Type::Fixed(fixed.size),
            Parsed::Decimal(DecimalSchema { scale, inner, .. }) => Type::Decimal {
                scale: i64::try_from(*scale).map_err(|_| format!("a scale of {scale}"))?,
                size: match inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                },
            },
            Parsed::Enum(of) => Type::Name(of.symbols.clone()),
            Parsed::Array(of) => Type::List(Box::new(self.compile(&of.items, namespace, depth)?)),
            Parsed::Map(of) => Type::Map(Box::new(self.compile(&of.types, namespace, depth)?)),
            Parsed::Union(of) => {
                let types = of.variants().iter();
                let types = types.map(|variant| self.compile(variant, namespace, depth));
                Type::Union(types.collect::<Result<_, _>>()?)
            }
            Parsed::Record(of) => {
                let name = of.name.fully_qualified_name(namespace);
                let fields = of.fields.iter().map(|field| {
                    let of = self.compile(&field.schema, name.namespace(), depth)?;
                    Ok((field.name.clone(), of))
                });
                Type::Record(fields.collect::<Result<_, String>>()?)
            }
            Parsed::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let named = self.names.get(&*name).copied();
                let named = named.ok_or_else(|| format!("it doesn't define `{name}`"))?;
                // The name is the type: no level deeper.
                self.compile(named, name.namespace(), depth + 1)?
            }
        })
    }
}
