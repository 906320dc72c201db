package mask

// A token is a credential that its issuer made easy to recognize.
type token struct {
	name     string
	prefix   string // shown
	set      *[256]bool
	min, max int // number of bytes of set after the prefix
	strict   bool
	check    func(v []byte) bool // of those bytes; nil: all
}

// Sets of bytes that tokens are made of.
var (
	tokUpper = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
	tokAlnum = setAlnum
	tokURL   = setOf(func(c byte) bool { return is(c, clB64URL) })
	tokDot   = setOf(func(c byte) bool { return is(c, clB64URL) || c == '.' })
	tokB64   = setOf(func(c byte) bool { return is(c, clB64) })
	tokWeb   = setOf(func(c byte) bool { return is(c, clB64URL|clB64) || c == '.' || c == '%' })
	tokHex   = setOf(func(c byte) bool { return is(c, clHex) })
	tokPath  = setOf(func(c byte) bool { return is(c, clB64URL) || c == '/' })
)

// tokens are what the issuers publish, or what their tokens look like; the longer of two prefixes stands
// first. The ones called strict must not stand inside a word.
var tokens = []token{
	{name: "aws-access-key", prefix: "AKIA", set: tokUpper, min: 16, max: 16, strict: true},
	{name: "aws-access-key", prefix: "ASIA", set: tokUpper, min: 16, max: 16, strict: true},
	{name: "aws-access-key", prefix: "ABIA", set: tokUpper, min: 16, max: 16, strict: true},
	{name: "aws-access-key", prefix: "ACCA", set: tokUpper, min: 16, max: 16, strict: true},
	{name: "aws-access-key", prefix: "ABSK", set: tokB64, min: 100, max: 300, strict: true},

	{name: "gcp-token", prefix: "AIza", set: tokURL, min: 35, max: 35, strict: true},
	{name: "gcp-token", prefix: "ya29.", set: tokDot, min: 20, max: 2048, strict: true},
	{name: "gcp-token", prefix: "GOCSPX-", set: tokURL, min: 24, max: 32},
	{name: "gcp-token", prefix: "GOOG1E", set: tokUpper, min: 55, max: 57, strict: true},
	{name: "gcp-token", prefix: "1//0", set: tokURL, min: 40, max: 300, strict: true},

	{name: "github-token", prefix: "ghp_", set: tokAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "gho_", set: tokAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghu_", set: tokAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghs_", set: tokAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghr_", set: tokAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "github_pat_", set: tokURL, min: 36, max: 251},

	{name: "gitlab-token", prefix: "glpat-", set: tokDot, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glptt-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "gldt-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glrt-", set: tokDot, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glcbt-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glft-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glsoat-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glimt-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "gloas-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glagent-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glffct-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glrtr-", set: tokDot, min: 20, max: 300},
	{name: "gitlab-token", prefix: "glwt-", set: tokURL, min: 20, max: 300},
	{name: "gitlab-token", prefix: "GR1348941", set: tokURL, min: 20, max: 300, strict: true},

	{name: "slack-token", prefix: "xoxb-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxp-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxa-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxr-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxs-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxo-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxd-", set: tokWeb, min: 20, max: 600},
	{name: "slack-token", prefix: "xoxc-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxe-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "xoxe.", set: tokDot, min: 20, max: 400},
	{name: "slack-token", prefix: "xapp-", set: tokURL, min: 20, max: 400},
	{name: "slack-token", prefix: "hooks.slack.com/services/", set: setOf(func(c byte) bool { return is(c, clAlnum) || c == '/' }), min: 30, max: 120},
	{name: "slack-token", prefix: "hooks.slack.com/workflows/", set: setOf(func(c byte) bool { return is(c, clAlnum) || c == '/' }), min: 30, max: 120},

	{name: "discord-token", prefix: "discord.com/api/webhooks/", set: tokPath, min: 60, max: 140},
	{name: "discord-token", prefix: "discordapp.com/api/webhooks/", set: tokPath, min: 60, max: 140},
	{name: "teams-token", prefix: "webhook.office.com/webhookb2/", set: setOf(func(c byte) bool { return tokPath[c] || c == '@' }), min: 90, max: 250},

	{name: "stripe-token", prefix: "sk_live_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "sk_test_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "rk_live_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "rk_test_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "sk_prod_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "rk_prod_", set: tokAlnum, min: 10, max: 250},
	{name: "stripe-token", prefix: "sk_org_", set: tokAlnum, min: 20, max: 250},
	{name: "stripe-token", prefix: "whsec_", set: tokB64, min: 24, max: 100},

	{name: "anthropic-token", prefix: "sk-ant-", set: tokURL, min: 24, max: 200},
	{name: "openai-token", prefix: "sk-proj-", set: tokURL, min: 20, max: 250},
	{name: "openai-token", prefix: "sk-svcacct-", set: tokURL, min: 20, max: 250},
	{name: "openai-token", prefix: "sk-admin-", set: tokURL, min: 20, max: 250},
	{name: "openai-token", prefix: "sk-None-", set: tokURL, min: 20, max: 250},
	{name: "openai-token", prefix: "sk-or-v1-", set: tokHex, min: 64, max: 64},
	{name: "openai-token", prefix: "sk-", set: tokAlnum, min: 32, max: 64, strict: true, check: mixedOrHex},

	{name: "npm-token", prefix: "npm_", set: tokAlnum, min: 36, max: 40, check: mixed},
	{name: "pypi-token", prefix: "pypi-AgE", set: tokURL, min: 50, max: 1000},
	{name: "docker-token", prefix: "dckr_pat_", set: tokURL, min: 20, max: 64},
	{name: "docker-token", prefix: "dckr_oat_", set: tokURL, min: 20, max: 64},
	{name: "twilio-token", prefix: "SK", set: tokHex, min: 32, max: 32, strict: true, check: hasDigit},
	{name: "sendgrid-token", prefix: "SG.", set: tokDot, min: 60, max: 80, strict: true, check: oneDot},
	{name: "heroku-token", prefix: "HRKU-", set: tokURL, min: 36, max: 80},
	{name: "vault-token", prefix: "hvs.", set: tokURL, min: 20, max: 400, strict: true},
	{name: "vault-token", prefix: "hvb.", set: tokURL, min: 20, max: 400, strict: true},
	{name: "vault-token", prefix: "hvr.", set: tokURL, min: 20, max: 400, strict: true},
	{name: "vault-token", prefix: "b.AAAA", set: tokURL, min: 80, max: 400, strict: true},
	{name: "vault-token", prefix: "s.", set: tokAlnum, min: 24, max: 24, strict: true, check: mixed},
	{name: "databricks-token", prefix: "dapi", set: tokHex, min: 32, max: 32, strict: true},
	{name: "databricks-token", prefix: "dkea", set: tokHex, min: 32, max: 32, strict: true},
	{name: "databricks-token", prefix: "dose", set: tokHex, min: 32, max: 32, strict: true},
	{name: "digitalocean-token", prefix: "dop_v1_", set: tokHex, min: 64, max: 64},
	{name: "digitalocean-token", prefix: "doo_v1_", set: tokHex, min: 64, max: 64},
	{name: "digitalocean-token", prefix: "dor_v1_", set: tokHex, min: 64, max: 64},
	{name: "shopify-token", prefix: "shpat_", set: tokHex, min: 32, max: 64},
	{name: "shopify-token", prefix: "shpca_", set: tokHex, min: 32, max: 64},
	{name: "shopify-token", prefix: "shppa_", set: tokHex, min: 32, max: 64},
	{name: "shopify-token", prefix: "shpss_", set: tokHex, min: 32, max: 64},
	{name: "shopify-token", prefix: "shpua_", set: tokHex, min: 32, max: 64},
	{name: "shopify-token", prefix: "shptka_", set: tokHex, min: 32, max: 64},

	{name: "huggingface-token", prefix: "hf_", set: tokAlnum, min: 30, max: 40, strict: true, check: mixed},
	{name: "huggingface-token", prefix: "api_org_", set: tokAlnum, min: 34, max: 34, strict: true},
	{name: "grafana-token", prefix: "glsa_", set: tokURL, min: 32, max: 60},
	{name: "grafana-token", prefix: "glc_", set: tokB64, min: 32, max: 400},
	{name: "age-key", prefix: "AGE-SECRET-KEY-", set: bytesOf("1QPZRY9X8GF2TVDW0S3JN54KHCE6MUAL7-"), min: 50, max: 80},
	{name: "tailscale-token", prefix: "tskey-", set: tokURL, min: 20, max: 120},
	{name: "linear-token", prefix: "lin_api_", set: tokAlnum, min: 32, max: 64},
	{name: "openshift-token", prefix: "sha256~", set: tokURL, min: 43, max: 43},
	{name: "notion-token", prefix: "secret_", set: tokAlnum, min: 43, max: 43, strict: true, check: mixed},
	{name: "notion-token", prefix: "ntn_", set: tokAlnum, min: 40, max: 60},
	{name: "postman-token", prefix: "PMAK-", set: tokURL, min: 50, max: 70},
	{name: "newrelic-token", prefix: "NRJS-", set: tokHex, min: 19, max: 19},
	{name: "newrelic-token", prefix: "NRII-", set: tokURL, min: 32, max: 32},
	{name: "newrelic-token", prefix: "NRAK-", set: tokAlnum, min: 27, max: 27},
	{name: "planetscale-token", prefix: "pscale_tkn_", set: tokDot, min: 32, max: 80},
	{name: "planetscale-token", prefix: "pscale_pw_", set: tokDot, min: 32, max: 80},
	{name: "planetscale-token", prefix: "pscale_oauth_", set: tokDot, min: 32, max: 80},
	{name: "square-token", prefix: "sq0atp-", set: tokURL, min: 22, max: 22},
	{name: "square-token", prefix: "sq0csp-", set: tokURL, min: 40, max: 50},
	{name: "square-token", prefix: "EAAA", set: tokURL, min: 56, max: 64, strict: true, check: mixed},
	{name: "supabase-token", prefix: "sbp_", set: tokHex, min: 40, max: 40},
	{name: "pulumi-token", prefix: "pul-", set: tokHex, min: 40, max: 40},
	{name: "rubygems-token", prefix: "rubygems_", set: tokHex, min: 48, max: 48},
	{name: "supabase-token", prefix: "sb_secret_", set: tokURL, min: 20, max: 80},
	{name: "atlassian-token", prefix: "ATCTT3", set: tokB64URL, min: 60, max: 250, strict: true},
	{name: "atlassian-token", prefix: "ATBB", set: tokAlnum, min: 32, max: 32, strict: true, check: mixed},
	{name: "atlassian-token", prefix: "ATTA", set: tokHex, min: 64, max: 72, strict: true},
	{name: "atlassian-token", prefix: "ATATT3", set: tokB64URL, min: 60, max: 250, strict: true},
	{name: "sentry-token", prefix: "sntrys_", set: tokB64URL, min: 60, max: 400},
	{name: "sentry-token", prefix: "sntryu_", set: tokHex, min: 64, max: 64},
	{name: "dynatrace-token", prefix: "dt0c01.", set: tokDot, min: 80, max: 100},
	{name: "doppler-token", prefix: "dp.pt.", set: tokAlnum, min: 40, max: 48},
	{name: "doppler-token", prefix: "dp.ct.", set: tokAlnum, min: 40, max: 48},
	{name: "doppler-token", prefix: "dp.sa.", set: tokAlnum, min: 40, max: 48},
	{name: "doppler-token", prefix: "dp.st.", set: tokDot, min: 40, max: 80},
	{name: "figma-token", prefix: "figd_", set: tokURL, min: 36, max: 64},
	{name: "groq-token", prefix: "gsk_", set: tokAlnum, min: 48, max: 64},
	{name: "perplexity-token", prefix: "pplx-", set: tokAlnum, min: 40, max: 64},
	{name: "xai-token", prefix: "xai-", set: tokAlnum, min: 70, max: 90},
	{name: "replicate-token", prefix: "r8_", set: tokAlnum, min: 37, max: 40, strict: true},
	{name: "mailgun-token", prefix: "key-", set: tokHex, min: 32, max: 32, strict: true},
	{name: "netlify-token", prefix: "nfp_", set: tokAlnum, min: 36, max: 40},
	{name: "circleci-token", prefix: "CCIPAT_", set: tokURL, min: 40, max: 80},
	{name: "buildkite-token", prefix: "bkua_", set: tokHex, min: 40, max: 40},
	{name: "alibaba-token", prefix: "LTAI", set: tokAlnum, min: 16, max: 26, strict: true, check: mixed},
	{name: "tencent-token", prefix: "AKID", set: tokAlnum, min: 32, max: 32, strict: true, check: mixed},
	{name: "sourcegraph-token", prefix: "sgp_", set: setOf(func(c byte) bool { return is(c, clHex) || c == '_' }), min: 40, max: 64},
	{name: "flyio-token", prefix: "fm2_", set: tokB64, min: 80, max: 2000},
	{name: "flyio-token", prefix: "fo1_", set: tokURL, min: 43, max: 43},
	{name: "onepassword-token", prefix: "ops_eyJ", set: tokB64URL, min: 200, max: 2000},

	{name: "adafruit-token", prefix: "aio_", set: tokAlnum, min: 28, max: 28, strict: true, check: mixed},
	{name: "adobe-token", prefix: "p8e-", set: tokAlnum, min: 32, max: 32, strict: true},
	{name: "brevo-token", prefix: "xkeysib-", set: tokURL, min: 72, max: 96},
	{name: "clojars-token", prefix: "CLOJARS_", set: tokAlnum, min: 60, max: 60},
	{name: "cloudflare-token", prefix: "v1.0-", set: setOf(func(c byte) bool { return is(c, clHex) || c == '-' }), min: 160, max: 180, strict: true},
	{name: "contentful-token", prefix: "CFPAT-", set: tokURL, min: 40, max: 60},
	{name: "dropbox-token", prefix: "sl.A", set: tokB64URL, min: 119, max: 300, strict: true},
	{name: "dropbox-token", prefix: "sl.B", set: tokB64URL, min: 119, max: 300, strict: true},
	{name: "dropbox-token", prefix: "sl.C", set: tokB64URL, min: 119, max: 300, strict: true},
	{name: "dropbox-token", prefix: "sl.u", set: tokB64URL, min: 119, max: 300, strict: true},
	{name: "duffel-token", prefix: "duffel_live_", set: tokURL, min: 43, max: 43},
	{name: "duffel-token", prefix: "duffel_test_", set: tokURL, min: 43, max: 43},
	{name: "easypost-token", prefix: "EZAK", set: tokAlnum, min: 54, max: 54, strict: true},
	{name: "easypost-token", prefix: "EZTK", set: tokAlnum, min: 54, max: 54, strict: true},
	{name: "facebook-token", prefix: "EAA", set: tokAlnum, min: 90, max: 400, strict: true, check: mixed},
	{name: "flutterwave-token", prefix: "FLWSECK-", set: tokURL, min: 32, max: 40},
	{name: "flutterwave-token", prefix: "FLWSECK_TEST-", set: tokURL, min: 32, max: 40},
	{name: "frameio-token", prefix: "fio-u-", set: tokURL, min: 64, max: 64},
	{name: "hubspot-token", prefix: "pat-na1-", set: tokURL, min: 36, max: 36},
	{name: "hubspot-token", prefix: "pat-eu1-", set: tokURL, min: 36, max: 36},
	{name: "jfrog-token", prefix: "AKCp", set: tokAlnum, min: 60, max: 80, strict: true},
	{name: "langchain-token", prefix: "lsv2_", set: tokURL, min: 40, max: 60},
	{name: "mapbox-token", prefix: "sk.eyJ", set: tokDot, min: 60, max: 160, strict: true},
	{name: "nvidia-token", prefix: "nvapi-", set: tokURL, min: 60, max: 80},
	{name: "octopus-token", prefix: "API-", set: tokUpper, min: 26, max: 26, strict: true, check: hasDigit},
	{name: "pinecone-token", prefix: "pcsk_", set: tokURL, min: 40, max: 90},
	{name: "posthog-token", prefix: "phx_", set: tokAlnum, min: 40, max: 60, strict: true},
	{name: "prefect-token", prefix: "pnu_", set: tokAlnum, min: 36, max: 36},
	{name: "readme-token", prefix: "rdme_", set: tokAlnum, min: 70, max: 70},
	{name: "shippo-token", prefix: "shippo_live_", set: tokHex, min: 40, max: 40},
	{name: "shippo-token", prefix: "shippo_test_", set: tokHex, min: 40, max: 40},
	{name: "sonar-token", prefix: "squ_", set: tokHex, min: 40, max: 40},
	{name: "sonar-token", prefix: "sqp_", set: tokHex, min: 40, max: 40},
	{name: "sonar-token", prefix: "sqa_", set: tokHex, min: 40, max: 40},
	{name: "typeform-token", prefix: "tfp_", set: tokDot, min: 40, max: 80},
	{name: "yandex-token", prefix: "AQVN", set: tokURL, min: 35, max: 38, strict: true},

	{name: "sallyport-token", prefix: "sallyport_", set: tokURL, min: 24, max: 400, strict: true, check: mixed},
}

var tokB64URL = setOf(func(c byte) bool { return is(c, clB64URL|clB64) })

// hasDigit says whether v holds a digit.
func hasDigit(v []byte) bool {
	for _, c := range v {
		if is(c, clDigit) {
			return true
		}
	}
	return false
}

// mixed says whether v holds digits and both cases of letters, which identifiers of the same length hardly do.
func mixed(v []byte) bool {
	var seen uint8
	for _, c := range v {
		seen |= class[c]
	}
	return seen&clDigit != 0 && seen&clUpper != 0 && seen&clLower != 0
}

// mixedOrHex is mixed, or all hexadecimal with digits.
func mixedOrHex(v []byte) bool { return mixed(v) || hasDigit(v) && allHex(v) }

func oneDot(v []byte) bool {
	n := 0
	for _, c := range v {
		if c == '.' {
			n++
		}
	}
	return n == 1
}

func vendorDetectors() []*detector {
	var ds []*detector
	byName := map[string]*detector{}
	for _, t := range tokens {
		d := byName[t.name]
		if d == nil {
			d = &detector{name: t.name, version: 1, last4: true, keep: bytesOf(".")}
			byName[t.name] = d
			ds = append(ds, d)
			d.find = func(*window, int) match { return match{} }
		}
		rest := d.find
		d.anchors = append(d.anchors, t.anchor())
		d.find = func(w *window, s int) match {
			if m := t.find(w, s); m.verdict != no {
				return m
			}
			return rest(w, s)
		}
	}
	if d := byName["aws-access-key"]; d != nil {
		d.find, d.keep = withAWSSecret(d.find), awsGlue
	}
	return append(ds, azureDetector(), telegramDetector(), terraformDetector(), mailchimpDetector())
}

// awsGlue is what stands between the two keys of AWS.
var awsGlue = bytesOf(" \t\r\n\",:;|'=")

// withAWSSecret is find, with the secret key that follows an access key without a name of its own, as in a CSV file: 40 bytes
// of base64, of all kinds.
func withAWSSecret(find func(*window, int) match) func(*window, int) match {
	const id, most, secret = 20, 4, 40
	key := setOf(func(c byte) bool { return is(c, clB64) && c != '=' })
	return func(w *window, s int) match {
		m, b := find(w, s), w.b
		if m.verdict != yes || m.to-m.from != id {
			return m
		}
		v := m.to
		for v < len(b) && v-m.to < most && awsGlue[b[v]] {
			v++
		}
		end := v
		for end < len(b) && end-v <= secret && key[b[end]] {
			end++
		}
		switch {
		case v == m.to:
		case end == len(b) && end-v <= secret && !w.final:
			return undecided(m.from, m.show, m.show)
		case end-v == secret && mixed(b[v:end]):
			m.to = end
		}
		return m
	}
}

func (t token) anchor() anchor {
	a := anchorOf(laneToken, t.prefix)
	for k := len(t.prefix); k < len(a.at); k++ {
		a.at[k] = t.set
		a.lane = laneText
	}
	return a
}

// find looks for t at s.
func (t token) find(w *window, s int) match {
	n := min(len(t.prefix), len(w.b)-s)
	if s < w.floor || s < 1 || string(w.b[s:s+n]) != t.prefix[:n] || t.strict && inWord(w.b, s) {
		return match{}
	}
	if n < len(t.prefix) {
		if w.final {
			return match{}
		}
		return undecided(s, s+n, s+n)
	}
	v := s + n
	end := v
	for end < len(w.b) && end-v <= t.max && t.set[w.b[end]] {
		end++
	}
	if end == len(w.b) && end-v <= t.max && !w.final {
		return undecided(s, v, v)
	}
	for end > v && w.b[end-1] == '.' { // of the sentence
		end--
	}
	if n := end - v; n < t.min || n > t.max || t.check != nil && !t.check(w.b[v:end]) {
		return match{}
	}
	return found(s, v, end)
}
