"""Clouds, hosting, networks and infrastructure."""

from __future__ import annotations

from gateway.guards.secret_rules import END, HEX32, HEX40, HEX64, UUID, Rule, assigned, token, word
from gateway.guards.secret_rules_judges import aws_key_id, mixed

B64 = "[A-Za-z0-9+/]"

RULES: tuple[Rule, ...] = (
    # AWS IAM identifiers reference: four letters say the kind, then base 32.
    token(
        "aws-access-key-id", "AWS_ACCESS_KEY_ID", "AWS", ("AKIA", "ASIA", "ABIA", "ACCA"), "[A-Z2-7]{16}", aws_key_id
    ),
    assigned(
        "aws-secret-key", "AWS_SECRET_KEY", "AWS", r"aws|secret_?access_?key", B64 + "{40}", ("aws", "secret"), mixed
    ),
    assigned("aws-session-token", "AWS_SESSION_TOKEN", "AWS", r"session_?token", B64 + "{100,400}={0,2}", ("session",)),
    token("aws-bedrock-key", "AWS_BEDROCK_KEY", "AWS", "ABSK", "[A-Za-z0-9+/]{90,300}={0,2}"),
    word(
        "aws-bedrock-short-key",
        "AWS_BEDROCK_KEY",
        "AWS",
        rf"\b(bedrock-api-key-[A-Za-z0-9+/=_-]{{40,400}}){END}",
        ("bedrock-api-key-",),
    ),
    word("aws-mws-token", "AWS_MWS_TOKEN", "AWS", rf"\b(amzn\.mws\.{UUID}){END}", ("amzn.mws.",)),
    token("aws-appsync-key", "AWS_APPSYNC_KEY", "AWS", "da2-", "[a-z0-9]{26}"),
    token("google-api-key", "GOOGLE_API_KEY", "Google", "AIza", "[A-Za-z0-9_-]{35}"),
    token("google-oauth-secret", "GOOGLE_OAUTH_SECRET", "Google", "GOCSPX-", "[A-Za-z0-9_-]{28}"),
    word("google-oauth-token", "GOOGLE_OAUTH_TOKEN", "Google", rf"\b(ya29\.[A-Za-z0-9_-]{{30,400}}){END}", ("ya29.",)),
    word(
        "google-refresh-token",
        "GOOGLE_OAUTH_TOKEN",
        "Google",
        rf"(?:^|[^A-Za-z0-9/])(1//0[A-Za-z0-9_-]{{40,200}}){END}",
        ("1//0",),
    ),
    assigned(
        "google-private-key-id",
        "GOOGLE_PRIVATE_KEY_ID",
        "Google",
        "private_?key_?id",
        HEX40,
        ("private_key_id", "privatekeyid"),
    ),
    token("google-hmac-key", "GOOGLE_HMAC_KEY", "Google", "GOOG1E", "[A-Z0-9]{55}"),
    word(
        "gcp-fcm-key",
        "GOOGLE_FCM_KEY",
        "Google",
        rf"\b(AAAA[A-Za-z0-9_-]{{7}}:APA91b[A-Za-z0-9_-]{{120,170}}){END}",
        ("apa91b",),
    ),
    word(
        "azure-storage-key",
        "AZURE_STORAGE_KEY",
        "Azure",
        rf"(?i:account_?key|storage_?key)[\"']?\s{{0,4}}[=:]\s{{0,4}}[\"']?({B64}{{86}}==)",
        ("key",),
    ),
    word(
        "azure-shared-access-key",
        "AZURE_SHARED_ACCESS_KEY",
        "Azure",
        rf"(?i:SharedAccessKey|SharedSecretValue)[\"']?\s{{0,4}}[=:]\s{{0,4}}[\"']?({B64}{{43}}=)",
        ("sharedaccesskey", "sharedsecretvalue"),
    ),
    word("azure-sas", "AZURE_SAS_SIGNATURE", "Azure", r"[?&;]sig=([A-Za-z0-9%+/_-]{40,80}(?:%3[Dd]|=))", ("sig=",)),
    # Entra client secrets: three characters, a digit, Q, a tilde, 31 to 34 characters.
    word(
        "azure-client-secret",
        "AZURE_CLIENT_SECRET",
        "Azure",
        r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|\.?(?:\s|$))",
        ("q~",),
    ),
    word(
        "azure-identifiable-key",
        "AZURE_KEY",
        "Azure",
        rf"(?:^|[^A-Za-z0-9+/])({B64}{{33,76}}(?:\+ASt|\+AIo|\+ARm|\+ACR|AzSe|AzFu|ACDb)[A-Za-z0-9+/]{{3,9}}={{0,2}})(?:[^A-Za-z0-9+/=]|$)",
        ("+ast", "+aio", "+arm", "+acr", "azse", "azfu", "acdb"),
    ),
    word(
        "azure-openai-key",
        "AZURE_OPENAI_KEY",
        "Azure",
        r"\b([A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{6}AC[A-Za-z0-9]{16,20}[A-Za-z0-9]{4})" + END,
        ("jqqj99",),
    ),
    assigned(
        "azure-cognitive-key", "AZURE_KEY", "Azure", "ocp-apim-subscription-key|azure", HEX32, ("ocp-apim", "azure")
    ),
    assigned(
        "azure-devops-token",
        "AZURE_DEVOPS_TOKEN",
        "Azure",
        r"azure|ado_pat|vsts|personal_?access_?token",
        "[a-z2-7]{52}",
        ("azure", "ado_pat", "vsts", "personal"),
    ),
    word(
        "azure-app-configuration",
        "AZURE_APP_CONFIGURATION",
        "Azure",
        rf"(?i:\.azconfig\.io;id=[^;\s]{{5,60}};secret=)({B64}{{36,90}}={{0,2}})",
        (".azconfig.io",),
    ),
    word(
        "azure-function-key",
        "AZURE_FUNCTION_KEY",
        "Azure",
        r"\.azurewebsites\.net/[^\s?]{0,100}\?code=([A-Za-z0-9_/+-]{40,60}={0,2})",
        (".azurewebsites.net",),
    ),
    token("digitalocean-token", "DIGITALOCEAN_TOKEN", "DigitalOcean", ("dop_v1_", "doo_v1_", "dor_v1_"), HEX64),
    token("alibaba-access-key-id", "ALIBABA_ACCESS_KEY_ID", "Alibaba", "LTAI", "[A-Za-z0-9]{12,20}"),
    assigned(
        "alibaba-secret-key",
        "ALIBABA_SECRET_KEY",
        "Alibaba",
        "alibaba|aliyun|access_?key_?secret",
        "[A-Za-z0-9]{30}",
        ("alibaba", "aliyun", "key_secret", "keysecret"),
        mixed,
    ),
    token("tencent-secret-id", "TENCENT_SECRET_ID", "Tencent", "AKID", "[A-Za-z0-9]{32}"),
    assigned(
        "tencent-secret-key",
        "TENCENT_SECRET_KEY",
        "Tencent",
        "tencent|qcloud",
        "[A-Za-z0-9]{32}",
        ("tencent", "qcloud"),
        mixed,
    ),
    token("heroku-key", "HEROKU_KEY", "Heroku", "HRKU-", "[A-Za-z0-9_-]{36,60}"),
    assigned("heroku-legacy-key", "HEROKU_KEY", "Heroku", "heroku", UUID, ("heroku",)),
    assigned(
        "cloudflare-global-key", "CLOUDFLARE_KEY", "Cloudflare", "cloudflare|cf_", "[0-9a-f]{37}", ("cloudflare", "cf_")
    ),
    assigned(
        "cloudflare-token",
        "CLOUDFLARE_TOKEN",
        "Cloudflare",
        "cloudflare|cf_",
        "[A-Za-z0-9_-]{40}",
        ("cloudflare", "cf_"),
        mixed,
    ),
    word(
        "cloudflare-origin-ca",
        "CLOUDFLARE_ORIGIN_CA",
        "Cloudflare",
        r"\b(v1\.0-[0-9a-f]{24}-[0-9a-f]{146})" + END,
        ("v1.0-",),
    ),
    token(
        "cloudflare-scannable-token", "CLOUDFLARE_TOKEN", "Cloudflare", ("cfut_", "cfat_", "cfk_"), "[A-Za-z0-9]{40,60}"
    ),
    assigned("fastly-token", "FASTLY_TOKEN", "Fastly", "fastly", "[A-Za-z0-9_-]{32}", ("fastly",), mixed),
    assigned("linode-token", "LINODE_TOKEN", "Linode", "linode", HEX64, ("linode",)),
    assigned("vultr-key", "VULTR_KEY", "Vultr", "vultr", "[A-Z0-9]{36}", ("vultr",)),
    assigned(
        "hetzner-token", "HETZNER_TOKEN", "Hetzner", "hetzner|hcloud", "[A-Za-z0-9]{64}", ("hetzner", "hcloud"), mixed
    ),
    assigned("scaleway-key", "SCALEWAY_KEY", "Scaleway", r"scaleway|\bscw_", UUID, ("scaleway", "scw_")),
    token("scaleway-access-key", "SCALEWAY_ACCESS_KEY", "Scaleway", "SCW", "[A-Z0-9]{17}"),
    assigned("ovh-secret", "OVH_SECRET", "OVH", "ovh", "[A-Za-z0-9]{32}", ("ovh",), mixed),
    assigned(
        "ibm-cloud-key",
        "IBM_CLOUD_KEY",
        "IBM",
        "ibm|bluemix|watson",
        "[A-Za-z0-9_-]{44}",
        ("ibm", "bluemix", "watson"),
        mixed,
    ),
    assigned("yandex-secret", "YANDEX_SECRET", "Yandex", "yandex|secret", "YC[A-Za-z0-9_-]{38}", ("yandex", "secret")),
    token("yandex-api-key", "YANDEX_API_KEY", "Yandex", "AQVN", "[A-Za-z0-9_-]{35,38}"),
    word(
        "yandex-iam-token",
        "YANDEX_IAM_TOKEN",
        "Yandex",
        r"\b(t1\.[A-Z0-9a-z_-]{10,300}={0,2}\.[A-Za-z0-9_-]{86}={0,2})" + END,
        ("t1.",),
    ),
    token("flyio-token", "FLYIO_TOKEN", "Fly.io", ("fo1_",), "[A-Za-z0-9_-]{43}"),
    word("flyio-macaroon", "FLYIO_TOKEN", "Fly.io", r"\b(fm[12][ar]?_[A-Za-z0-9+/]{100,480}={0,3})", ("fm1", "fm2")),
    token("render-key", "RENDER_KEY", "Render", "rnd_", "[A-Za-z0-9]{28,40}"),
    assigned("vercel-token", "VERCEL_TOKEN", "Vercel", "vercel", "[A-Za-z0-9]{24}", ("vercel",), mixed),
    token("vercel-blob-token", "VERCEL_TOKEN", "Vercel", "vercel_blob_rw_", "[A-Za-z0-9]{16}_[A-Za-z0-9]{30}"),
    token("netlify-token", "NETLIFY_TOKEN", "Netlify", ("nfp_", "nfc_", "nfo_", "nfu_"), "[A-Za-z0-9_-]{36}"),
    assigned("railway-token", "RAILWAY_TOKEN", "Railway", "railway", UUID, ("railway",)),
    token(
        "tailscale-key",
        "TAILSCALE_KEY",
        "Tailscale",
        ("tskey-auth-", "tskey-api-", "tskey-client-", "tskey-webhook-"),
        "[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,60}",
    ),
    token("ngrok-token", "NGROK_TOKEN", "ngrok", ("ak_", "cr_"), "2[A-Za-z0-9]{26}_?[A-Za-z0-9]{0,25}", mixed),
    assigned(
        "ngrok-authtoken",
        "NGROK_TOKEN",
        "ngrok",
        "ngrok|authtoken",
        "[12][A-Za-z0-9]{26}_[A-Za-z0-9]{20,24}",
        ("ngrok", "authtoken"),
    ),
    word(
        "vault-token", "VAULT_TOKEN", "HashiCorp", r"\b(hv[sbr]\.[A-Za-z0-9_-]{24,300})" + END, ("hvs.", "hvb.", "hvr.")
    ),
    word(
        "vault-legacy-token",
        "VAULT_TOKEN",
        "HashiCorp",
        r"(?i:vault_?token|x-vault-token)[\"']?\s{0,4}[=:]\s{0,4}[\"']?(s\.[A-Za-z0-9]{24})" + END,
        ("vault",),
        mixed,
    ),
    word(
        "terraform-cloud-token",
        "TERRAFORM_TOKEN",
        "HashiCorp",
        r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70})" + END,
        (".atlasv1.",),
    ),
    token("pulumi-token", "PULUMI_TOKEN", "Pulumi", "pul-", HEX40),
    word(
        "kubernetes-bootstrap-token",
        "KUBERNETES_BOOTSTRAP_TOKEN",
        "Kubernetes",
        r"(?i:--token[= ]|bootstrap[\w-]{0,20}[=:]\s{0,4}[\"']?)([a-z0-9]{6}\.[a-z0-9]{16})" + END,
        ("--token", "bootstrap"),
    ),
    token("openshift-token", "OPENSHIFT_TOKEN", "Red Hat", "sha256~", "[A-Za-z0-9_-]{43}"),
    assigned(
        "wireguard-key",
        "WIREGUARD_KEY",
        "WireGuard",
        "private_?key|preshared_?key",
        "[A-Za-z0-9+/]{43}=",
        ("privatekey", "private_key", "presharedkey", "preshared_key"),
        mixed,
    ),
    assigned(
        "akamai-secret",
        "AKAMAI_SECRET",
        "Akamai",
        "client_secret",
        r"[A-Za-z0-9+/]{42,44}=?",
        ("client_secret",),
        mixed,
    ),
    token("akamai-token", "AKAMAI_TOKEN", "Akamai", "akab-", "[a-z0-9]{16}-[a-z0-9]{16}"),
    assigned(
        "oracle-auth-token",
        "ORACLE_TOKEN",
        "Oracle",
        "oci_|oracle",
        r"[A-Za-z0-9;:(){}<>.,\[\]_~+-]{20}",
        ("oci_", "oracle"),
        mixed,
    ),
)
