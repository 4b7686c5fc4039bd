-- The splits of deals: who is credited with how much of one.
CREATE TABLE splits
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    deal_id     String,
    owner_id    LowCardinality(String),
    share       Nullable(Decimal(18, 4)),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
