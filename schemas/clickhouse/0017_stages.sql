-- What stages of deals stand for. Every shard has all of them.
CREATE TABLE stages
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    stage       String,
    name        String,
    status      LowCardinality(String),
    probability Nullable(Decimal(18, 4)),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
