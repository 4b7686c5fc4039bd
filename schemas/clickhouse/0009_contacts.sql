-- The contacts.
CREATE TABLE contacts
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    account_id  String,
    owner_id    LowCardinality(String),
    created_at  Nullable(DateTime64(6, 'UTC')),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
