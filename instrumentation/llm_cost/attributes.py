"""Every span attribute, metric, label and baggage name, declared once. Imports nothing.

`gen_ai.*` and `user.id` follow the OpenTelemetry GenAI conventions; `llm_cost.*` is ours.
Dashboards, the processor and the tests import these names, so a rename is one edit.
"""

from typing import Final

# --- GenAI conventions -------------------------------------------------------------------
OPERATION_NAME: Final = "gen_ai.operation.name"
OPERATION_START_JOB: Final = "start_job"  # a value: work began that its result's span will price
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"

USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"  # includes cached tokens
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"  # includes reasoning tokens
USAGE_CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
USAGE_PREFIX: Final = "gen_ai.usage."
USAGE_OLDER_TOKENS: Final = ("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens")

COST_AMOUNT: Final = "gen_ai.usage.cost.amount"  # display only, a float; money is COST_NANO_USD
COST_CURRENCY: Final = "gen_ai.usage.cost.currency"
COST_SOURCE: Final = "gen_ai.usage.cost.source"  # "local" | "provider"

SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
USER_ID: Final = "user.id"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
ANTHROPIC_RESPONSE_SERVICE_TIER: Final = "anthropic.response.service_tier"

# --- Ours --------------------------------------------------------------------------------
USER_TIER: Final = "llm_cost.user.tier"
GROUP: Final = "llm_cost.group"
CALL_ID: Final = "llm_cost.call.id"  # 32 hex digits
COST_NANO_USD: Final = "llm_cost.cost.nano_usd"  # int, exact
COST_INPUT_NANO_USD: Final = "llm_cost.cost.input_nano_usd"
COST_OUTPUT_NANO_USD: Final = "llm_cost.cost.output_nano_usd"
COST_CACHE_READ_NANO_USD: Final = "llm_cost.cost.cache_read_nano_usd"
COST_CACHE_WRITE_NANO_USD: Final = "llm_cost.cost.cache_write_nano_usd"
COST_TOOLS_NANO_USD: Final = "llm_cost.cost.tools_nano_usd"
PRICE_STATUS: Final = "llm_cost.price.status"  # exact | partial | fallback | unknown
PRICE_VERSION: Final = "llm_cost.price.version"
USAGE_SOURCE: Final = "llm_cost.usage.source"  # reported | estimated
# One exclusive bucket of `Usage` each, where the conventions have no name for it:
# USAGE_BUCKET_PREFIX + field name, for example llm_cost.usage.cache_write_1h_tokens.
USAGE_BUCKET_PREFIX: Final = "llm_cost.usage."
# On a framework's span that may repeat the usage of the calls inside it: they have the cost.
PRICED_BELOW: Final = "llm_cost.priced_below"
RESPONSE_SERVICE_TIER: Final = "llm_cost.response.service_tier"  # where a provider's own is missing
POLICY_DECISION: Final = "llm_cost.policy.decision"  # allow | warn | block | dry_run | unavailable
POLICY_VERSION: Final = "llm_cost.policy.version"

# --- Baggage (read in services called with it, written for services we call) --------------
BAGGAGE_USER_ID: Final = "user.id"
BAGGAGE_USER_TIER: Final = "llm_cost.user.tier"
BAGGAGE_GROUP: Final = "llm_cost.group"

# --- Subjects ----------------------------------------------------------------------------
UNATTRIBUTED: Final = "unattributed"
"""Who pays when the application did not say: a visible subject, never a silent drop."""

# --- Metrics, as Prometheus prints them --------------------------------------------------
METRIC_COST_USD: Final = "llm_cost_usd_total"
METRIC_CALLS: Final = "llm_calls_total"
METRIC_TOKENS: Final = "llm_tokens_total"
METRIC_CALL_DURATION: Final = "llm_call_duration_seconds"
METRIC_UNPRICED_CALLS: Final = "llm_unpriced_calls_total"
METRIC_POLICY_DECISIONS: Final = "llm_policy_decisions_total"
METRIC_TOP_USER_SPEND_USD: Final = "llm_top_user_spend_usd"
METRIC_TIER_SPEND_USD: Final = "llm_tier_spend_usd"
METRIC_TIER_CALLS: Final = "llm_tier_calls"
METRIC_TIER_ACTIVE_USERS: Final = "llm_tier_active_users"
METRIC_TIER_USER_SPEND_USD: Final = "llm_tier_user_spend_usd"  # label stat: avg|p50|p95|max
METRIC_TIER_LIMIT_USD: Final = "llm_tier_limit_usd"
METRIC_TIER_USERS_OVER: Final = "llm_tier_users_over"  # label threshold: 80 | 100
METRIC_TIER_REVENUE_USD: Final = "llm_tier_revenue_usd"
METRIC_TIER_MARGIN_USD: Final = "llm_tier_margin_usd"
METRIC_LEDGER_COMMITS: Final = "llm_policy_ledger_commits_total"
METRIC_LEDGER_COMMIT_SECONDS: Final = "llm_policy_ledger_commit_seconds_total"
METRIC_LEDGER_CONFLICTS: Final = "llm_policy_ledger_conflicts_total"
METRIC_LEDGER_QUEUE: Final = "llm_policy_ledger_queue_length"
METRIC_LEDGER_ROWS: Final = "llm_policy_ledger_rows"

LABEL_TIER: Final = "tier"
LABEL_PROVIDER: Final = "provider"
LABEL_MODEL: Final = "model"
LABEL_GROUP: Final = "group"
LABEL_OPERATION: Final = "operation"
LABEL_KIND: Final = "kind"
LABEL_DECISION: Final = "decision"
LABEL_USER_ID: Final = "user_id"  # on METRIC_TOP_USER_SPEND_USD only, which is bounded
LABEL_WINDOW: Final = "window"
LABEL_STAT: Final = "stat"
LABEL_THRESHOLD: Final = "threshold"
LABEL_REASON: Final = "reason"
OVERFLOW_LABEL_VALUE: Final = "other"
