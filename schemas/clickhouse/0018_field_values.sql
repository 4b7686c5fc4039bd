-- Values of fields that are records of their own, such as the rows of a CRM's table of custom fields. The records they are about hold them, too.
CREATE TABLE field_values
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    entity      LowCardinality(String),
    record_id   String,
    field       LowCardinality(String),
    value       String,
    assignment  String,
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
