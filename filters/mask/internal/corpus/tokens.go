package corpus

import (
	"math/rand/v2"
	"strings"
)

// tokenForms are the tokens of vendors as they are published: kind, then pieces, of which those with a colon are
// made up: an alphabet (n digits, x hexadecimal, l small letters and digits, u capitals and digits, a letters and digits,
// w base64url, b base64, t base32) and a length. The first piece may be shown. No piece is a token by itself.
const publishedTokens = `
aws-access-key AK IA u:16
aws-access-key AS IA u:16
aws-access-key AB IA u:16
aws-access-key AC CA u:16
aws-access-key AB SK b:112
gcp-token AI za w:35
gcp-token ya 29. w:120
gcp-token GOC SPX- w:28
gcp-token 1/ /0 a:2 w:60
gcp-token GOO G1E u:56
azure-token w:3 n:1 Q~ w:34
azure-token a:52 JQ QJ99 AAAAAAA a:22
github-token gh p_ a:36
github-token gh o_ a:36
github-token gh u_ a:36
github-token gh s_ a:36
github-token gh r_ a:76
github-token github _pat_ a:22 _ a:59
gitlab-token gl pat- w:20
gitlab-token gl pat- w:27 .01. l:9
gitlab-token gl ptt- x:40
gitlab-token gl dt- w:20
gitlab-token gl rt- w:20
gitlab-token gl rt-t1_ w:27 .01. l:9
gitlab-token gl rtr- w:20
gitlab-token gl cbt- x:2 _ w:20
gitlab-token gl ft- w:20
gitlab-token gl soat- w:20
gitlab-token gl imt- w:25
gitlab-token gl oas- x:64
gitlab-token gl agent- w:50
gitlab-token gl ffct- w:20
gitlab-token gl wt- w:20
gitlab-token GR 1348941 w:20
slack-token xo xb- n:12 - n:13 - a:24
slack-token xo xp- n:12 - n:12 - n:13 - x:32
slack-token xo xa-2- n:12 - n:12 - n:12 - x:32
slack-token xo xr- n:12 - n:12 - x:32
slack-token xo xs- n:12 - n:12 - n:12 - x:32
slack-token xo xo- n:12 - n:12 - x:32
slack-token xo xe-1- u:146
slack-token xo xe.xoxp-1- w:163
slack-token xa pp-1-A u:10 - n:13 - x:64
slack-token hooks.slack. com/services/ T u:8 / B u:8 / a:24
slack-token hooks.slack. com/workflows/ T u:8 / A u:8 / n:18 / a:24
discord-token discord. com/api/webhooks/ n:18 / w:68
discord-token discordapp. com/api/webhooks/ n:19 / w:68
teams-token webhook.office. com/webhookb2/ x:36 @ x:36 /IncomingWebhook/ x:32 / x:36
stripe-token sk _live_ a:24
stripe-token sk _test_ a:99
stripe-token rk _live_ a:24
stripe-token rk _test_ a:99
stripe-token sk _prod_ a:24
stripe-token rk _prod_ a:24
stripe-token whs ec_ a:32
openai-token sk - a:20 T3Blbk FJ a:20
openai-token sk -proj- w:74 T3Blbk FJ w:74
openai-token sk -svcacct- w:58 T3Blbk FJ w:58
openai-token sk -admin- w:58 T3Blbk FJ w:58
anthropic-token sk -ant-api03- w:93 AA
anthropic-token sk -ant-admin01- w:93 AA
anthropic-token sk -ant-oat01- w:93 AA
anthropic-token sk -ant-sid01- w:93 AA
npm-token np m_ a:36
pypi-token pyp i-AgEIcHlwaS5vcmc w:120
pypi-token pyp i-AgENdGVzdC5weXBpLm9yZw w:120
docker-token dck r_pat_ w:27
docker-token dck r_oat_ w:32
twilio-token S K x:32
sendgrid-token S G. w:22 . w:43
heroku-token HRK U-AA w:58
heroku-token HRK U- x:8 - x:4 - x:4 - x:4 - x:12
vault-token hv s. w:24
vault-token hv s. w:90
vault-token hv b. w:140
vault-token hv r. w:24
vault-token s . a:24
vault-token b .AAAAAQ w:130
databricks-token dap i x:32
digitalocean-token do p_v1_ x:64
digitalocean-token do o_v1_ x:64
digitalocean-token do r_v1_ x:64
shopify-token shp at_ x:32
shopify-token shp ca_ x:32
shopify-token shp pa_ x:32
shopify-token shp ss_ x:32
telegram-token n:10 :AA w:33
telegram-token n:9 :AA w:33
openshift-token sha 256~ w:43
huggingface-token h f_ a:34
grafana-token gl sa_ a:32 _ x:8
grafana-token gl c_ b:60
age-key AGE-SECRET- KEY-1 u32:58
tailscale-token ts key-auth-k a:10 CNTRL- a:32
linear-token lin _api_ a:40
notion-token nt n_ a:46
notion-token secre t_ a:43
postman-token PM AK- x:24 - x:34
newrelic-token NR AK- u:27
newrelic-token NR JS- x:19
planetscale-token pscale _tkn_ w:43
square-token sq0 atp- w:22
square-token sq0 csp- w:43
supabase-token sb p_ x:40
pulumi-token pu l- x:40
rubygems-token ruby gems_ x:48
atlassian-token AT ATT3 w:180 = x:8
sentry-token sntr ys_ b:120 _ b:43
sentry-token sntr yu_ x:64
dynatrace-token dt0 c01. u:24 . u:64
doppler-token dp .pt. a:43
figma-token fig d_ w:40
groq-token gs k_ a:52
perplexity-token ppl x- a:48
xai-token xa i- a:80
replicate-token r 8_ a:37
mailgun-token ke y- x:32
mailchimp-token x:32 - us 12
netlify-token nf p_ a:40
circleci-token CCI PAT_ a:22 _ x:40
buildkite-token bk ua_ x:40
alibaba-token LT AI a:20
sourcegraph-token sg p_ x:16 _ x:40
flyio-token fm 2_ b:120
onepassword-token op s_eyJ b:300
brevo-token xkey sib- x:64 - a:16
easypost-token EZ AK a:54
flutterwave-token FLWSEC K- x:32 -X
adobe-token p8 e- a:32
clojars-token CLO JARS_ x:60
duffel-token duff el_live_ w:43
dropbox-token s l.B w:137
frameio-token fi o-u- w:64
mapbox-token s k.eyJ a:60 . a:22
octopus-token AP I- u:26
prefect-token pn u_ l:36
readme-token rd me_ l:70
shippo-token ship po_live_ x:40
sonar-token sq u_ x:40
typeform-token tf p_ w:59
adafruit-token ai o_ a:28
hubspot-token pat -na1- x:8 - x:4 - x:4 - x:4 - x:12
langchain-token ls v2_pt_ x:32 _ x:10
nvidia-token nva pi- w:64
pinecone-token pcs k_ a:6 _ a:63
posthog-token ph x_ a:43
openai-token s k- x:32
yandex-token AQ VN w:36
cloudflare-token v1.0 - x:24 - x:146
jfrog-token AK Cp a:69
databricks-token dke a x:32
facebook-token EAA C a:150
sallyport-token sally port_ a:32
`

func tokenForms(r *rand.Rand) []Form {
	of := map[string]string{"n": numerals, "x": "0123456789abcdef", "l": numerals + small, "u": numerals + capital, "a": alnum, "w": alnum + "-_", "b": alnum + "+/", "u32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"}
	var out []Form
	for line := range strings.Lines(strings.TrimSpace(publishedTokens)) {
		parts := strings.Fields(line)
		for range 4 {
			var b strings.Builder
			show := 0
			for k, p := range parts[1:] {
				set, n, made := strings.Cut(p, ":")
				if made && of[set] != "" {
					b.WriteString(madeUp(r, of[set], atoi(n)))
				} else {
					b.WriteString(p)
				}
				if k < 2 && !made {
					show = b.Len()
				}
			}
			f := form(parts[0], b.String(), show)
			if parts[0] == "telegram-token" {
				f.Show = strings.IndexByte(f.Text, ':') + 2
			}
			if parts[0] == "azure-token" || parts[0] == "mailchimp-token" {
				f.Show = 1
			}
			if strings.Contains(line, " b:") || strings.Contains(line, " / ") || strings.Contains("atlassian-token dropbox-token stripe-token", parts[0]) {
				f.avoid = append(f.avoid, "path") // a slash is of its alphabet
			}
			out = append(out, f)
		}
	}
	return out
}

// madeUp picks n characters out of set; the last and the first are letters or digits, and where there is room all kinds
// are among them.
func madeUp(r *rand.Rand, set string, n int) string {
	b := []byte(pick(r, set, n))
	if n >= 16 {
		for i, c := range "7a" {
			if strings.ContainsRune(set, c) {
				b[3+i] = byte(c)
			}
		}
		if strings.ContainsRune(set, 'Z') {
			b[6] = 'Z'
		}
	}
	for _, i := range []int{0, n - 1} {
		if strings.IndexByte("-_+/", b[i]) >= 0 {
			b[i] = 'Q'
		}
	}
	return string(b)
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}
