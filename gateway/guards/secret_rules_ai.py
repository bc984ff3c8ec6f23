"""Makers of models, and the tools around them."""

from __future__ import annotations

from gateway.guards.secret_rules import END, UUID, Rule, assigned, token, word
from gateway.guards.secret_rules_judges import mixed

ALNUM = "[A-Za-z0-9]"

RULES: tuple[Rule, ...] = (
    # All keys since 2023 hold "OpenAI" in base64 in their middle.
    word(
        "openai-key",
        "OPENAI_KEY",
        "OpenAI",
        r"\b(sk-(?:proj-|svcacct-|admin-|service-)?[\w-]{20,180}T3BlbkFJ[\w-]{20,180})" + END,
        ("t3blbkfj",),
    ),
    token("openai-legacy-key", "OPENAI_KEY", "OpenAI", "sk-", ALNUM + "{48}"),
    token(
        "openai-project-key",
        "OPENAI_KEY",
        "OpenAI",
        ("sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-", "sk-service-"),
        r"[\w-]{40,200}",
    ),
    token("openai-session", "OPENAI_KEY", "OpenAI", "sess-", ALNUM + "{40}"),
    token(
        "anthropic-key",
        "ANTHROPIC_KEY",
        "Anthropic",
        ("sk-ant-api03-", "sk-ant-admin01-", "sk-ant-sid01-", "sk-ant-oat01-", "sk-ant-ort01-", "sk-ant-"),
        r"[\w-]{40,130}",
    ),
    token("openrouter-key", "OPENROUTER_KEY", "OpenRouter", ("sk-or-v1-", "sk-or-"), "[0-9a-f]{64}"),
    # Any other key that begins like OpenAI's, as many copies of its interface use.
    word("sk-key", "AI_KEY", "various", r"\b(sk-(?:[a-z]{2,10}-)?[A-Za-z0-9_]{32,120})" + END, ("sk-",), mixed),
    token("deepseek-key", "DEEPSEEK_KEY", "DeepSeek", "sk-", "[0-9a-f]{32}"),
    token("huggingface-token", "HUGGINGFACE_TOKEN", "Hugging Face", "hf_", ALNUM + "{34,40}"),
    token("huggingface-org-token", "HUGGINGFACE_TOKEN", "Hugging Face", "api_org_", ALNUM + "{34}"),
    token("groq-key", "GROQ_KEY", "Groq", "gsk_", ALNUM + "{48,56}"),
    token("replicate-token", "REPLICATE_TOKEN", "Replicate", "r8_", ALNUM + "{37}"),
    token("perplexity-key", "PERPLEXITY_KEY", "Perplexity", "pplx-", ALNUM + "{48,56}"),
    token("xai-key", "XAI_KEY", "xAI", "xai-", ALNUM + "{70,90}"),
    token("fireworks-key", "FIREWORKS_KEY", "Fireworks", "fw_", ALNUM + "{22,40}", mixed),
    token("cerebras-key", "CEREBRAS_KEY", "Cerebras", "csk-", "[a-z0-9]{40,60}"),
    token("nvidia-key", "NVIDIA_KEY", "NVIDIA", "nvapi-", r"[\w-]{60,80}"),
    token("anyscale-key", "ANYSCALE_KEY", "Anyscale", "esecret_", ALNUM + "{24,32}"),
    token("langsmith-key", "LANGSMITH_KEY", "LangChain", ("lsv2_pt_", "lsv2_sk_"), "[0-9a-f]{32}_[0-9a-f]{10}"),
    token("langsmith-legacy-key", "LANGSMITH_KEY", "LangChain", "ls__", "[0-9a-f]{32}"),
    token("langfuse-secret-key", "LANGFUSE_KEY", "Langfuse", "sk-lf-", UUID),
    token("wandb-key", "WANDB_KEY", "Weights & Biases", "wandb_v1_", r"[\w-]{60,110}"),
    assigned("wandb-legacy-key", "WANDB_KEY", "Weights & Biases", r"wandb", "[0-9a-f]{40}", ("wandb",)),
    assigned(
        "cohere-key", "COHERE_KEY", "Cohere", r"cohere|co_api_key", ALNUM + "{40}", ("cohere", "co_api_key"), mixed
    ),
    assigned("mistral-key", "MISTRAL_KEY", "Mistral", "mistral", ALNUM + "{32}", ("mistral",), mixed),
    assigned("together-key", "TOGETHER_KEY", "Together", "together", "[0-9a-f]{64}", ("together",)),
    token("together-new-key", "TOGETHER_KEY", "Together", "tgp_v1_", r"[\w-]{43}"),
    assigned("ai21-key", "AI21_KEY", "AI21", "ai21", ALNUM + "{32}", ("ai21",), mixed),
    word(
        "stability-key",
        "STABILITY_KEY",
        "Stability",
        rf"(?i:stability|dreamstudio)[\w.\- ]{{0,30}}[\"']?[ \t]{{0,4}}[=:][ \t]{{0,4}}[\"']?(sk-{ALNUM}{{48}})" + END,
        ("stability", "dreamstudio"),
    ),
    assigned("assemblyai-key", "ASSEMBLYAI_KEY", "AssemblyAI", "assembly_?ai", "[0-9a-f]{32}", ("assembly",)),
    assigned("deepgram-key", "DEEPGRAM_KEY", "Deepgram", "deepgram|dg_", "[0-9a-f]{40}", ("deepgram", "dg_")),
    assigned(
        "elevenlabs-legacy-key",
        "ELEVENLABS_KEY",
        "ElevenLabs",
        "eleven_?labs|xi-api-key",
        "[0-9a-f]{32}",
        ("eleven", "xi-api-key"),
    ),
    token("elevenlabs-key", "ELEVENLABS_KEY", "ElevenLabs", "sk_", "[0-9a-f]{48}"),
    token("pinecone-key", "PINECONE_KEY", "Pinecone", "pcsk_", ALNUM + "{4,8}_" + ALNUM + "{40,70}"),
    assigned("pinecone-legacy-key", "PINECONE_KEY", "Pinecone", "pinecone", UUID, ("pinecone",)),
    assigned(
        "weaviate-key", "WEAVIATE_KEY", "Weaviate", "weaviate|wcs_", ALNUM + "{36,40}", ("weaviate", "wcs_"), mixed
    ),
    assigned("qdrant-key", "QDRANT_KEY", "Qdrant", "qdrant", r"[\w-]{54}", ("qdrant",), mixed),
    token("jina-key", "JINA_KEY", "Jina", "jina_", "[0-9a-f]{32}" + r"[\w-]{28}"),
    token("voyage-key", "VOYAGE_KEY", "Voyage", "pa-", r"[\w-]{43}", mixed),
    token("tavily-key", "TAVILY_KEY", "Tavily", ("tvly-dev-", "tvly-prod-", "tvly-"), ALNUM + "{32}"),
    token("firecrawl-key", "FIRECRAWL_KEY", "Firecrawl", "fc-", "[0-9a-f]{32}"),
    token("e2b-key", "E2B_KEY", "E2B", "e2b_", "[0-9a-f]{40}"),
    token("modal-token", "MODAL_TOKEN", "Modal", ("ak-", "as-"), ALNUM + "{22}", mixed),
    token("runpod-key", "RUNPOD_KEY", "RunPod", ("rpa_", "rps_"), "[A-Z0-9]{38,50}[a-z0-9]{0,8}"),
    word(
        "lambda-key",
        "LAMBDA_KEY",
        "Lambda",
        r"\b(secret_[a-z0-9-]{1,30}_[0-9a-f]{32}\.[A-Za-z0-9]{32})" + END,
        ("secret_",),
    ),
    token(
        "helicone-key",
        "HELICONE_KEY",
        "Helicone",
        ("sk-helicone-", "pk-helicone-"),
        "[a-z0-9]{7}-[a-z0-9]{7}-[a-z0-9]{7}-[a-z0-9]{7}",
    ),
    token("phoenix-braintrust-key", "BRAINTRUST_KEY", "Braintrust", "sk-bt-", r"[\w-]{40,60}"),
    word("zhipu-key", "ZHIPU_KEY", "Zhipu", r"\b([0-9a-f]{32}\.[A-Za-z0-9]{16})" + END, (), mixed),
    token("volcengine-key", "VOLCENGINE_KEY", "Volcengine", "AKLT", ALNUM + "{32,70}"),
    token("gateway-key", "GATEWAY_KEY", "this gateway", "gw-", r"[\w-]{43}"),
)
