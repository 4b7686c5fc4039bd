-- For a rebuild: how the input was read, which older log still feeds a newer one, and since when an epoch is the current one.
ALTER TABLE epochs
    ADD COLUMN IF NOT EXISTS reading    UInt32 DEFAULT 1 COMMENT 'of the input topics: a new one begins at their beginnings',
    ADD COLUMN IF NOT EXISTS inputs     String DEFAULT '{}' COMMENT 'JSON: how that reading reads each topic',
    ADD COLUMN IF NOT EXISTS feeds_on   UInt32 DEFAULT 0 COMMENT 'the generation whose log is one more input; 0 for none',
    ADD COLUMN IF NOT EXISTS live_since Nullable(DateTime64(6, 'UTC')) COMMENT 'NULL for the first, which always was',
    COMMENT COLUMN live '0 while it is being built, 1 once views may read it, 2 when it is dropped';

-- The shards whose records are copied into the new log of an epoch that is being built, so that a rebuild that was killed can be continued.
CREATE TABLE poured
(
    epoch UInt32,
    shard UInt32 COMMENT 'of the older log'
)
ENGINE = ReplacingMergeTree
ORDER BY (epoch, shard);

-- The epochs that began in the middle of a log; every shard has them all. The id is the epoch's number.
CREATE TABLE epoch_starts
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The changes, once each: a rebuilt log repeats all of them, so each hour counts by the generation current at that hour.
CREATE VIEW changes_counted AS
SELECT c.*
FROM changes AS c FINAL
INNER JOIN
(
    SELECT
        generation,
        since,
        leadInFrame(since, 1, toDateTime64('2299-01-01 00:00:00', 6, 'UTC'))
            OVER (ORDER BY since ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS until
    FROM
    (
        SELECT generation, min(ifNull(live_since, toDateTime64(0, 6, 'UTC'))) AS since
        FROM epochs FINAL
        WHERE live > 0
        GROUP BY generation
    )
) AS g ON c.generation = g.generation
WHERE c.appended_at >= g.since AND c.appended_at < g.until
ORDER BY c.appended_at
LIMIT 1 BY c.entity, c.id, c.event_time, c.status_before, c.status, c.owner_before, c.owner, c.amount_before, c.amount, c.closed_at_before, c.closed_at;
