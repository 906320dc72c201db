package corpus

import "strings"

// Rules are the built-in detectors' rules as regular expressions, without what these cannot say (Luhn, mod 97,
// ranges, the rules of what counts as a value): what a filter made of a regular expression library would use.
var Rules = []string{
	`\b[2-6]\d{3}[ -]?\d{4,6}[ -]?\d{4,5}(?:[ -]?\d{1,7})?\b`,
	`\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b`,
	`\b\d{3}-\d{2}-\d{4}\b`,
	`[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b`,
	`\+[1-9]\d{0,2}[ -.]?(?:\(\d{1,4}\)|\d{1,4})(?:[ -.]?\d{2,4}){2,4}\b`,
	`(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}\b`,
	`\b0[1-9](?:[ .-]\d{2}){4}\b`,
	`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?`,
	`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`,
	`LS0tLS1CRUdJTi[A-Za-z0-9+/=]{32,}`,
	`[a-z0-9]://[^\s/:@"'<>]*:([^\s/@"'<>]+)@`,
	`(?i)(?:password|passwd|passphrase|pwd|secret(?:_?access)?(?:_?key)?|token|api[_-]?key|access[_-]?key|private[_-]?key|auth(?:orization)?|credentials?|session(?:id)?|(?:encryption|signing|master|account)_?key|client[_-]?secret)["']?\s{0,8}(?:=>?|:=?)\s{0,8}["']?[^\s"',;]{2,}`,
	`(?i)bearer [A-Za-z0-9._~+/=-]{16,}`,
	`\$(?:1|5|6|y|2[aby]|argon2id?)\$[A-Za-z0-9./$+=,-]{30,}`,
	`\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b`,
	`\bAIza[A-Za-z0-9_-]{35}`, `\bya29\.[A-Za-z0-9_.-]{20,}`, `GOCSPX-[A-Za-z0-9_-]{24,}`,
	`gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,}`, `gl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|oas|agent|ffct)-[A-Za-z0-9_.-]{20,}`,
	`xox[bpaorsdce][-.][A-Za-z0-9_.-]{20,}|xapp-[A-Za-z0-9_-]{20,}`, `[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,}`,
	`sk-(?:ant|proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9]{32,64}\b`, `npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,}|dckr_[po]at_[A-Za-z0-9_-]{20,}`,
	`\bSK[0-9a-f]{32}\b|\bSG\.[A-Za-z0-9_.-]{60,80}`, `HRKU-[A-Za-z0-9_-]{36,}|\bhv[sbr]\.[A-Za-z0-9_-]{20,}|\bdapi[0-9a-f]{32}\b`,
	`do[por]_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss|ua|tka)_[0-9a-fA-F]{32}`, `\b\d{6,12}:A[A-Za-z0-9_-]{34}\b`,
	`\b(?:mysql|mysqldump|mariadb|sshpass)\b[^|;&\n]* -p\S+`, `\b(?:curl|docker login|redis-cli|mongosh)\b[^|;&\n]* -[uUap] ?\S+`,
	`(?m)^[A-Za-z0-9.*-]+:(?:\d{2,5}|\*):[^:\s]+:[^:\s]+:\S+`,
}

// Alternation is all of them in one expression.
func Alternation() string { return "(?:" + strings.Join(Rules, ")|(?:") + ")" }

// Mix is clean text of all kinds, in pieces of 16 KB one after the other.
func Mix() Text {
	const part = 16 << 10
	kinds := Clean()
	var b []byte
	for i := 0; len(b) < 2*size; i++ {
		t := kinds[i%len(kinds)].Text
		at := i / len(kinds) * part
		b = append(b, t[at:at+part]...)
	}
	return Text{"all of them", b}
}
