CREATE TABLE IF NOT EXISTS api_stats (
    id bigserial PRIMARY KEY,
    model text NOT NULL,
    user_id text NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    total_tokens bigint,
    duration double precision,
    timestamp timestamptz NOT NULL
);
