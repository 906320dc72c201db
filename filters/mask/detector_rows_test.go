package mask

import (
	"encoding/base64"
	"strings"
)

// detectorRows are examples of both kinds for every detector: what is masked and how, and what is left.
var detectorRows = map[string][]row{
	"card": {
		{"4111111111111111", "411111**********"},
		{"pay 4111 1111 1111 1111 now", "pay 4111 11** **** **** now"},
		{"4111-1111-1111-1111,", "4111-11**-****-****,"},
		{"3782 822463 10005", "3782 82**** *****"},
		{"371449635398431", "371449*********"},
		{"5555555555554444", "555555**********"},
		{"2223003122003222", "222300**********"},
		{"6011111111111117", "601111**********"},
		{"3530111333300000", "353011**********"},
		{"30569309025904", "305693********"},
		{"36227206271667", "362272********"},
		{"6200000000000005", "620000**********"},
		{"6759649826438453", "675964**********"},
		{"4222222222222", "422222*******"},
		{"card=4111111111111111;", "card=411111**********;"},
		{`{"pan":4111111111111111,"x":1}`, `{"pan":4111110000000000,"x":1}`},
		{`{"pan":"4111111111111111"}`, `{"pan":"411111**********"}`},
		{"[4111111111111111, 5555555555554444]", "[4111110000000000, 5555550000000000]"},
		{"4111 1111 1111 1111 12/29 123", "4111 11** **** **** 12/29 123"},
		{"4111111111111111.", "411111**********."},
		{"\xff4111111111111111\xc3", "\xff411111**********\xc3"},
		{"価4111111111111111円", "価411111**********円"},
		{"4111\u00a01111\u00a01111\u00a01111", "4111\u00a011**\u00a0****\u00a0****"}, {"4111\u202f1111\u202f1111\u202f1111.", "4111\u202f11**\u202f****\u202f****."}, {"4111\u20131111\u20131111\u20131111", "4111\u201311**\u2013****\u2013****"},
		{"6331101999990016", "633110**********"}, {"6799990100000000019", "679999*************"},
		{in: "4111\u00a01111\u20111111\u00a01111"}, {in: "4111€1111"}, {in: "2024年4月"},
		{in: "4111111111111112"}, {in: "1234567812345670"}, {in: "41111111111111111"}, {in: "0.4111111111111111"},
		{in: "4111111111111111.5"}, {in: "a4111111111111111"}, {in: "4111111111111111b"},
		{in: "1700000000000000"}, {in: "2026-01-02T03:04:05.123456789Z"}, {in: "550e8400-e29b-41d4-a716-446655440000"},
		{in: "4 1 1 1 1 1 1 1 1"}, {in: "1.2.3.4111"}, {in: "12345678-1234-1234-1234-123456789012"},
	},
	"ssn": {
		{"123-45-6789", "***-**-****"}, {"ssn: 123-45-6789.", "ssn: ***-**-****."}, {"987-65-4321", "***-**-****"},
		{in: "000-12-3456"}, {in: "666-12-3456"}, {in: "123-00-4567"}, {in: "123-45-0000"}, {in: "987-68-4321x"},
		{in: "900-10-1234"}, {in: "123-45-67890"}, {in: "1123-45-6789"}, {in: "123-45-6789-1"}, {in: "2026-11-24"},
	},
	"email": {
		{"jane.doe+x@example.com", "j***.*****@*******.***"}, {"<a@b.co>", "<a@*.**>"}, {"To: BOB@MAIL.EXAMPLE.ORG.", "To: B**@****.*******.***."},
		{"mailto:jane@example.com?x", "mailto:j***@*******.***?x"}, {"jane@corp.local", "j***@****.*****"},
		{"jane@example.com:secret", "j***@*******.***:secret"},
		{in: "git@github.com:/a/b.git"}, {in: "root@host:~# "}, {in: "root@db1.example.com:~# "}, {in: "a@b"}, {in: "x/net@v0.1.0"},
		{in: "getty@tty1.service"}, {in: "logo@2x.png"}, {in: "hmac-sha2-256-etm@openssh.com"}, {in: "@param x"}, {in: "f@GLIBC_2.14"},
		{in: "a@.com"}, {in: "@example.com"}, {in: "a@-x.com"},
	},
	"iban": {
		{"DE89370400440532013000", "DE89******************"}, {"GB82 WEST 1234 5698 7654 32", "GB82 **** **** **** **** **"},
		{"gb82west12345698765432", "gb82******************"}, {"FR14 2004 1010 0505 0001 3M02 606", "FR14 **** **** **** **** **** ***"},
		{"NO93 8601 1117 947", "NO93 **** **** ***"}, {"MT84MALT011000012345MTLCAST001S.", "MT84***************************."},
		{"DE89-3704-0044-0532-0130-00", "DE89-****-****-****-****-**"},
		{"DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "DE89\u00a0****\u00a0****\u00a0****\u00a0****\u00a0**"}, {"DE89.3704.0044.0532.0130.00", "DE89.****.****.****.****.**"},
		{in: "DE89370400440532013001"}, {in: "XX89370400440532013000"}, {in: "aDE89370400440532013000"}, {in: "DE893704004405320130001"},
	},
	"private-key": {
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\nabcd==\n-----END RSA PRIVATE KEY-----\nx",
			"-----BEGIN RSA PRIVATE KEY-----\n******************\n******\n-----END RSA PRIVATE KEY-----\nx"},
		{`{"k":"-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\nab==\n-----END PRIVATE KEY-----\n"}`,
			`{"k":"-----BEGIN PRIVATE KEY-----\n**************************-----END PRIVATE KEY-----\n"}`},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXktdjEA\r\nabcd\r\n-----END",
			"-----BEGIN OPENSSH PRIVATE KEY-----\r\n********************\r\n****\r\n-----END"},
		{"-----BEGIN PRIVATE KEY-----\n0123456789abcdef0123456789abcdef", "-----BEGIN PRIVATE KEY-----\n********************************"}, // as long as the name of a header may be
		{in: "-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA75\n-----END CERTIFICATE-----\n"},
		{in: "grep -- '-----BEGIN RSA PRIVATE KEY-----' *"}, {in: "-----BEGIN RSA PRIVATE KEY-----\nroot@host:~# "},
	},
	"jwt": {
		{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop x", "eyJ*****************.*******************.**************** x"},
		{"eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "eyJ****************.***************."},
		{in: "eyJ is a prefix"}, {in: "eyJhbGciOiJIUzI1NiJ9"}, {in: "eyJmb28iOiJiYXIifQ.eyJzdWIiOiIxIn0.abcd"},
	},
	"aws-access-key": {
		{j("AK", "IAIOSFODNN7EXAMPLE"), "AKIA****************"}, {"id=" + j("AS", "IAIOSFODNN7EXAMPLE") + ";", "id=ASIA****************;"},
		{j("AK", "IAIOSFODNN7EXAMPLE", ",wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\r\n"), "AKIA****************," + stars(40) + "\r\n"},
		{j(`"AK`, `IAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"`), `"AKIA****************": "` + stars(40) + `"`},
		{j("AK", "IAIOSFODNN7EXAMPLE", " 0123456789abcdef0123456789abcdef01234567"), "AKIA**************** 0123456789abcdef0123456789abcdef01234567"},
		{in: "AKIA"}, {in: j("AK", "IAIOSFODNN7EXAMPL")}, {in: j("AK", "IAIOSFODNN7EXAMPLEE")}, {in: j("xAK", "IAIOSFODNN7EXAMPLE")},
	},
	"github-token": {
		{j("gh", "p_", "abcdefghijklmnopqrstuvwxyz0123456789"), "ghp_************************************"},
		{in: "ghp_short"}, {in: "ghp_"},
	},
	"phone": {
		{"+1 415 555 0132", "+* *** *** ****"}, {"+49 30 901820.", "+** ** ******."}, {"tel +4915123456789", "tel +*************"},
		{"+44 (0)20 7946 0958", "+** (*)** **** ****"}, {"(415) 555-0132", "(***) ***-****"}, {"415-555-0132", "***-***-****"},
		{"1-800-555-0199", "1-***-***-****"}, {"415.555.0132,", "***.***.****,"}, {"020 7946 0958", "*** **** ****"},
		{"06 12 34 56 78", "** ** ** ** **"}, {"0171-1234567", "****-*******"}, {"07700 900123", "***** ******"},
		{`"phone": "4155550132"`, `"phone": "**********"`}, {`{"phone_number":4155550132}`, `{"phone_number":0000000000}`}, {"Tel: 555-0132", "Tel: ***-****"},
		{"8 (495) 123-45-67", "8 (***) ***-**-**"}, {"8 495 123-45-67", "8 *** ***-**-**"}, {"044 668 18 00", "*** *** ** **"}, {"0470 12 34 56", "**** ** ** **"}, {"0212 123 45 67", "**** *** ** **"}, {"0664 1234567", "**** *******"},
		{"01 234 5678", "** *** ****"}, {"050-123-4567", "***-***-****"}, {"011 4123-4567", "*** ****-****"}, {"0912-345-678", "****-***-***"}, {"012-345 6789", "***-*** ****"}, {"0812-3456-7890", "****-****-****"}, {"06-12345678", "**-********"},
		{"(02) 1234 5678", "(**) **** ****"}, {"070-123 45 67", "***-*** ** **"}, {"098765 43210", "****** *****"}, {"0721 234 567", "**** *** ***"},
		{in: "2024-01-234-5678"}, {in: "drwxr-xr-x 0755 1000 1000"},
		{in: "phones 12345678"}, {in: "2026-11-24 07:17:30"}, {in: "192.168.100.200"}, {in: "+0100"}, {in: "+12345"}, {in: "a+4155550132"},
		{in: "00 01 02 03 04 05 06 07  08 09"}, {in: "1.415.555.0132"}, {in: "100 200 300"}, {in: "0123456789"}, {in: "f(415) 555"},
	},
	"url-password": {
		{"postgres://app:s3cret@db.internal/x", "postgres://app:******@db.internal/x"}, {"https://user:p@ss@host/", "https://user:****@host/"},
		{"redis://:hunter2@cache:6379/0", "redis://:*******@cache:6379/0"},
		{in: "http://localhost:8080/x"}, {in: "https://example.org/@user:x"}, {in: "http://h:80 a@b"}, {in: "ssh://git@host:22/x"}, {in: "amqp://u:${PASS}@h"},
		{in: "http://[::1]:8080/"},
	},
	"secret": {
		{"password=hunter2", "password=*******"}, {"DB_PASSWORD=correct-horse\n", "DB_PASSWORD=*************\n"},
		{`{"password": "hunter2", "x": 1}`, `{"password": "*******", "x": 1}`}, {`{"password":"a \"b\" c"}`, `{"password":"*********"}`},
		{"  password: hunter2\r\n", "  password: *******\r\n"}, {"api_key: 'abc123def456'", "api_key: '************'"},
		{"X-Api-Key: 9f8e7d6c5b4a3f2e1d\r\n", "X-Api-Key: ******************\r\n"}, {"Authorization: Bearer abcdef0123456789", "Authorization: Bearer ****************"},
		{"Authorization: Basic dXNlcjpwYXNz\r\n", "Authorization: Basic ************\r\n"}, {"mysql --password=hunter2 db", "mysql --password=******* db"},
		{"cli --token abcdef0123456789 x", "cli --token **************** x"}, {"export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "export AWS_SECRET_ACCESS_KEY=****************************************"},
		{"?access_token=abcdef0123456789&x=1", "?access_token=****************&x=1"}, {"<password>hunter2</password>", "<password>*******</password>"},
		{"ALTER ROLE x PASSWORD 'hunter2';", "ALTER ROLE x PASSWORD '*******';"}, {"IDENTIFIED BY 'hunter2'", "IDENTIFIED BY '*******'"},
		{"curl -H 'Authorization: Bearer abcdef0123456789'", "curl -H 'Authorization: Bearer ****************'"},
		{`{\"password\":\"hunter2\"}`, `{\"password\":\"*******\"}`}, {"AccountKey=abcDEF012345678901234567890123456789==;", "AccountKey=**************************************;"},
		{"spring.datasource.password=hunter2", "spring.datasource.password=*******"}, {"client-secret = \"s3cr3tv4lue\"", "client-secret = \"***********\""},
		{"Passwort: geheim\n", "Passwort: ******\n"}, {"password = hunter2\n", "password = *******\n"},
		{"export PGPASSWORD='my secret pw'\n", "export PGPASSWORD='************'\n"}, {"tool --api-key abcdef123456", "tool --api-key ************"}, {"tool -token=abcdef123456", "tool -token=************"},
		{in: "password: "}, {in: "password = getpass()"}, {in: "token = p.next()"}, {in: "PWD=/root"}, {in: "password=$DB_PASSWORD"}, {in: "the password is long"},
		{in: "password: must be at least eight"}, {in: "Password string `json:\"password\"`"}, {in: "func(password, token string)"}, {in: "if token == expected123 {"},
		{in: "connect(password=password, token=token)"}, {in: "secretName: my-app-secret-1"}, {in: "pass=5 fail=0"}, {in: "token: string"}, {in: "password: string\n"},
		{in: "--- PASS: TestX (0.00s)"}, {in: "password=****"}, {in: "tokens: 12345678"}, {in: "author: jane"}, {in: "api_key: ${API_KEY}"}, {in: "session=main"},
		{in: "std::token::next"}, {in: "passwd:x:0:0"}, {in: "`password` text NOT NULL"},
	},
	"password-hash": {
		{"root:$6$abcdefgh$" + "Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Z:19000:", "root:$6$********$**************************************************************************************:19000:"},
		{"$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "$2b$**$*****************************************************"},
		{in: "$1 and $2"}, {in: "$6$"}, {in: "echo $a$b$c"},
	},
	"encoded-key": {
		{"client-key-data: " + enc64("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\n") + "\n",
			"client-key-data: LS0tLS1CRUdJTi" + stars(len(enc64("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\n"))-14) + "\n"},
		{in: enc64("-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA75\n")}, {in: "LS0tLS1"},
	},
	"azure-token": {
		{j("abc8", "Q~", "abcdefghijklmnopqrstuvwxyz01234567"), "a" + stars(39)}, {in: "abcQ~x"}, {in: "Q~"},
	},
	"telegram-token": {
		{j("110201543", ":AAHdqTcv", "CH1vGWJxfSeofSAs0K5PALDsaw1"), "110201543:" + stars(35)}, {in: "12:AM"}, {in: "110201543:AAA"},
	},
	"mailchimp-token": {
		{j("0123456789abcdef0123456789abcdef", "-us", "12"), "0" + stars(31) + "-****"}, {in: "abcdef-us1"}, {in: j("x0123456789abcdef0123456789abcdef", "-us", "12")},
	},
	"command-password": {
		{"mysql -u root -phunter2 shop", "mysql -u root -p******* shop"}, {"$ sshpass -p 'hunter2' ssh h", "$ sshpass -p '*******' ssh h"},
		{"curl -sSu jane:hunter2 https://x", "curl -sSu jane:******* https://x"}, {"/usr/bin/curl --user jane:hunter2 x", "/usr/bin/curl --user jane:******* x"},
		{"docker login -u jane -p hunter2\n", "docker login -u jane -p *******\n"}, {"redis-cli -a hunter2 ping", "redis-cli -a ******* ping"},
		{"echo hunter2 | sudo -S id", "echo ******* | sudo -S id"}, {"xfreerdp /u:jane /p:hunter2", "xfreerdp /u:jane /p:*******"}, {"smbclient //h/s -U jane%hunter2", "smbclient //h/s -U jane%*******"},
		{"mysql -uroot -psecret db", "mysql -uroot -p****** db"}, {"curl -U jane:hunter2 x", "curl -U jane:******* x"}, {"curl --proxy-user jane:hunter2 x", "curl --proxy-user jane:******* x"},
		{in: "mysql -u root -p"}, {in: "mysql -u root -p shop"}, {in: "mkdir -p a/b"}, {in: "ps -p 12345"}, {in: "cp -pr a b"}, {in: "curl -u jane https://x"}, {in: "docker ps -a"}, {in: "docker run -p 8080:80 x"},
		{in: "echo hello | grep h"}, {in: "echo done"}, {in: "ssh -p 2222 host"}, {in: "unzip -p x.zip"}, {in: "mysql -p$PASS"}, {in: "grep -P 'x' /p:y"},
	},
	"pgpass": {
		{"db.example.com:5432:shop:app:hunter2\n", "db.example.com:5432:shop:app:*******\n"}, {"*:*:*:app:hunter2", "*:*:*:app:*******"}, {"localhost:6432:*:app:hunter2\r\n", "localhost:6432:*:app:*******\r\n"},
		{in: "fe80:5678:1:2:3"}, {in: "10.0.0.1:5432"}, {in: "main.go:5432:12: x"}, {in: "a b.c:5432:a:b:c"}, {in: "image:5000/x:y:z"},
	},
	"putty-key": {
		{"Private-Lines: 2\nAAAAIHh4eHh4eHh4eHh4\neHh4eHh4\nPrivate-MAC: 00ff\n", "Private-Lines: 2\n********************\n********\nPrivate-MAC: 00ff\n"},
		{in: "Private-Lines: 1\n"}, {in: "Private-Lines: x\nAAAAIHh4eHh4eHh4eHh4\n"}, {in: "a date-time"},
	},
	"terraform-token": {
		{j("abcdefghijklmn", ".atl", "asv1.", letters(64)), "a" + stars(13) + "." + stars(7) + "." + stars(64)}, {in: "x.atlas"},
	},
}

func stars(n int) string { return strings.Repeat("*", n) }

func letters(n int) string { return strings.Repeat("a1B2c3D4", n/8+1)[:n] }

func enc64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
