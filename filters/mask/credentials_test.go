package mask

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

// credentialLines are assignments of secrets in every syntax; the value stands between « and ». They are masked with
// any value that looks like the one given.
const credentialLines = `
export DB_PASSWORD=«hunter2»
export DB_PASSWORD="«hunter2»"
export PGPASSWORD='«hunter2 of jane»'
tool --api-key «abcdef123456» x
tool -token=«abcdef123456»
mysql -uroot -p«hunter2» shop
curl --proxy-user jane:«hunter2» https://x
curl -U jane:«hunter2» https://x
export DB_PASSWORD='«hunter2»'
DB_PASS=«hunter2x9»
set PASSWORD=«hunter2»
setx API_KEY «9f8e7d6c5b4a3f2e»
setenv SECRET_KEY «9f8e7d6c5b4a3f2e»
set -x API_TOKEN «9f8e7d6c5b4a3f2e»
$env:API_KEY = "«9f8e7d6c5b4a3f2e»"
ENV API_KEY «9f8e7d6c5b4a3f2e»
ENV API_KEY=«9f8e7d6c5b4a3f2e»
ARG NPM_TOKEN=«9f8e7d6c5b4a3f2e»
      - MYSQL_ROOT_PASSWORD=«hunter2»
      MYSQL_ROOT_PASSWORD: «hunter2»
      MYSQL_ROOT_PASSWORD: "«hunter2»"
PGPASSWORD=«hunter2» psql -h db
MYSQL_PWD=«hunter2» mysql
AWS_SECRET_ACCESS_KEY=«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»
aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»
aws_session_token = «FwoGZXIvYXdzEBYaDKD8oKxyz1234567890abcdefGHIJKLMN»
"SecretAccessKey": "«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
"SessionToken": "«FwoGZXIvYXdzEBYaDKD8oKxyz1234567890abcdefGHIJKLMN»",
secret_key: «9f8e7d6c5b4a3f2e»
"password": "«hunter2»"
"password":"«hunter2»",
"password" : "«hunter2»"
'password': '«hunter2»'
{"user":"jane","password":"«hunter2»","x":1}
{"user":"jane","passwd":"«hunter2»"}
{"db_password":"«p@ss w0rd»"}
{"password":"«a\"b\\c d»"}
{\"password\":\"«hunter2»\"}
{\\\"password\\\":\\\"«hunter2»\\\"}
"clientSecret":"«9f8e7d6c-5b4a-3f2e-9f8e-7d6c5b4a3f2e»"
"client_secret": "«abcDEF123~456_xyz.789»"
"accessToken": "«9f8e7d6c5b4a3f2e»"
"refresh_token": "«9f8e7d6c5b4a3f2e»"
"apiKey": "«9f8e7d6c5b4a3f2e»"
"api-key": "«9f8e7d6c5b4a3f2e»"
"x-api-key": "«9f8e7d6c5b4a3f2e»"
"auth": "«amFuZTpodW50ZXIyeDk=»"
password: «hunter2»
password: '«hunter2»'
  db_password: «hunter2»
  - password: «hunter2»
password: !secret «hunter2»
password: |¶  «hunter2»
password: >-¶    «hunter2»
client_secret: |-¶  «9f8e7d6c5b4a3f2e»
password = «hunter2»
password=«hunter2»
password = "«hunter2»"
Password: «hunter2»
PASSWORD: «Hunter2!»
passphrase = "«correct horse battery staple»"
spring.datasource.password=«hunter2»
spring.security.oauth2.client-secret=«9f8e7d6c5b4a3f2e»
db.password: «hunter2»
const password = "«hunter2»";
var apiKey = '«9f8e7d6c5b4a3f2e»'
let secretKey: string = "«9f8e7d6c5b4a3f2e»";
password := "«hunter2»"
private static final String PASSWORD = "«hunter2»";
private String apiToken = "«9f8e7d6c5b4a3f2e»";
$password = '«hunter2»';
define('DB_PASSWORD', '«hunter2»');
'password' => '«hunter2»',
:password => "«hunter2»"
password: "«hunter2»",
config["password"] = "«hunter2»"
config['api_key'] = '«9f8e7d6c5b4a3f2e»'
os.environ["API_KEY"] = "«9f8e7d6c5b4a3f2e»"
connect(user="x", password="«hunter2»")
connect(host, password='«hunter2»', port=1)
#define PASSWORD "«hunter2»"
<password>«hunter2»</password>
<Password>«hunter2»</Password>
<property name="password" value="«hunter2»"/>
<add key="ApiKey" value="«9f8e7d6c5b4a3f2e»" />
<server password="«hunter2»"/>
<input type="password" name="password" value="«hunter2»">
tool --password «hunter2» --x
tool --password=«hunter2» --x
tool --password '«hunter 2»' --x
tool --password="«hunter2»" --x
tool --db-password «hunter2»
tool --token «9f8e7d6c5b4a3f2e»
tool --api-key «9f8e7d6c5b4a3f2e»
tool --api-key=«9f8e7d6c5b4a3f2e»
tool -password «hunter2»
tool --secret «9f8e7d6c5b4a3f2e»
tool --client-secret=«9f8e7d6c5b4a3f2e»
mysql -u root -p«hunter2» shop
mysql -uroot -p«hunter2»
mysqldump -h db -u app -p'«hunter2»' shop
mysqladmin -p"«hunter2»" ping
mariadb --user=x -p«hunter2»
sshpass -p «hunter2» ssh h
sshpass -p'«hunter2»' ssh h
curl -u jane:«hunter2» https://x
curl -u 'jane:«hunter2»' https://x
curl --user jane:«hunter2» https://x
curl -sSu "jane:«hunter2»" https://x
wget --password=«hunter2» --user=x http://x
docker login -u jane -p «hunter2» registry
redis-cli -h db -a «hunter2» ping
mongo -u x -p «hunter2» db
mongosh -u x -p '«hunter2»'
ldapsearch -x -D cn=x -w «hunter2» -b y
unzip -P «hunter2» x.zip
smbclient //h/s -U jane%«hunter2»
openssl rsa -passin pass:«hunter2» -in k
openssl enc -k «hunter2» -in k
keytool -storepass «hunter2» -list
az login -u x -p «hunter2»
xfreerdp /u:jane /p:«hunter2» /v:h
echo «hunter2» | sudo -S id
echo '«hunter2»' | docker login --password-stdin
psql "host=db user=app password=«hunter2» sslmode=require"
psql "postgresql://app:«hunter2»@db/x"
Server=db;Database=x;User Id=app;Password=«hunter2»;Encrypt=yes
Server=db;Uid=app;Pwd=«hunter2»;
"ConnectionString": "Server=db;Password=«hunter2»;"
DefaultEndpointsProtocol=https;AccountName=x;AccountKey=«abcDEF0123456789012345678901234567890123456789012345678901234567890123456789012345678==»;EndpointSuffix=core.windows.net
Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=«abcDEF01234567890123456789012345678901234567=»
https://x.blob.core.windows.net/c?sv=2024-01-01&sr=c&sig=«abcDEF0123456789%2Bxyz%3D»&se=2026
Data Source=db;User ID=sa;Password="«hunter2»"
jdbc:sqlserver://db:1433;user=sa;password=«hunter2»;
jdbc:oracle:thin:scott/«hunter2»@//db:1521/x
Authorization: Bearer «9f8e7d6c5b4a3f2e»
authorization: bearer «9f8e7d6c5b4a3f2e»
Authorization: Basic «amFuZTpodW50ZXIy»
Authorization: Token «9f8e7d6c5b4a3f2e»
Authorization: token «9f8e7d6c5b4a3f2e»
Authorization: ApiKey «9f8e7d6c5b4a3f2e»
Proxy-Authorization: Basic «amFuZTpodW50ZXIy»
"Authorization": "Bearer «9f8e7d6c5b4a3f2e»"
curl -H "Authorization: Bearer «9f8e7d6c5b4a3f2e»" https://x
curl -H 'X-Api-Key: «9f8e7d6c5b4a3f2e»' https://x
curl -H "PRIVATE-TOKEN: «9f8e7d6c5b4a3f2e»" https://x
X-Auth-Token: «9f8e7d6c5b4a3f2e»
X-Api-Key: «9f8e7d6c5b4a3f2e»
X-Vault-Token: «9f8e7d6c5b4a3f2e»
Set-Cookie: sessionid=«9f8e7d6c5b4a3f2e»; Path=/
Cookie: JSESSIONID=«9F8E7D6C5B4A3F2E9F8E7D6C5B4A3F2E»; x=1
GET /x?api_key=«9f8e7d6c5b4a3f2e»&y=1 HTTP/1.1
GET /x?access_token=«9f8e7d6c5b4a3f2e» HTTP/1.1
https://x/y?token=«9f8e7d6c5b4a3f2e»#z
https://x/y?password=«hunter2»&z=1
user=jane&password=«hunter2»&x=1
ALTER USER jane PASSWORD '«hunter2»';
CREATE USER jane WITH PASSWORD '«hunter2»';
create role jane login password '«hunter2»'
CREATE USER 'jane'@'%' IDENTIFIED BY '«hunter2»';
SET PASSWORD FOR 'jane'@'%' = '«hunter2»';
SET PASSWORD = PASSWORD('«hunter2»');
machine api.example.com login jane password «hunter2»
machine x¶  login jane¶  password «hunter2»
default login anonymous password «hunter2»
db.example.com:5432:shop:app:«hunter2»
localhost:*:*:app:«hunter2»
*:*:*:app:«hunter2»
//registry.npmjs.org/:_authToken=«9f8e7d6c-5b4a-3f2e-9f8e-7d6c5b4a3f2e»
_auth=«amFuZTpodW50ZXIyeDk=»
_password="«aHVudGVyMng5»"
level=info msg="login" password=«hunter2» user=jane
time=x password="«hunter2»" y=1
2026-11-24 10:00:00 DEBUG Config{user='jane', password='«hunter2»', x=1}
DEBUG UserCredentials(user=jane, password=«hunter2», x=1)
Using password: «hunter2»
New password: «Hunter2!»
Your password is: «Hunter2!»
default password is '«Hunter2!»'
root:«$6$saltsalt$Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Zj8q5Z»:19000:0:99999:7:::
PuTTY-User-Key-File-3: ssh-ed25519¶Private-Lines: 1¶«AAAAIHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4»¶
secretKeyRef: {password: «hunter2»}
`

// TestCredentials puts made-up values into every syntax, and demands that the whole value is masked and all else is
// left.
func TestCredentials(t *testing.T) {
	e := engine(t, Config{})
	r := rand.New(rand.NewPCG(7, 8))
	n := 0
	for line := range strings.Lines(strings.TrimSpace(credentialLines)) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "¶", "\n")
		before, rest, ok := strings.Cut(line, "«")
		value, after, ok2 := strings.Cut(rest, "»")
		if !ok || !ok2 {
			t.Fatalf("no value in %q", line)
		}
		for _, v := range append([]string{value}, corpus.Like(r, value, 5)...) {
			for _, eol := range []string{"\n", "\r\n"} {
				n++
				checkCredential(t, e, before, v, after+eol)
			}
		}
	}
	t.Logf("%d assignments", n)
}

func checkCredential(t *testing.T, e *Engine, before, v, after string) {
	t.Helper()
	in := before + v + after
	out := whole(e, StreamOptions{}, in)
	show := 0
	if v[0] == '$' { // the id of a hash
		show = 3
	}
	if open, ok := hidden(in, out, len(before), len(v), show); !ok {
		t.Errorf("%q shows %q: %q", in, open, out)
		return
	}
	if !strings.HasPrefix(out, before) || !strings.HasSuffix(out, after) || len(out) != len(in) {
		t.Errorf("what stands beside the value changed:\n%q\n%q", in, out)
	}
	everyCut(t, e, StreamOptions{}, in, out)
}

// privateKeys are private keys in every armour; lines of the body are marked with a leading tilde.
const privateKeys = `
-----BEGIN RSA PRIVATE KEY-----¶~¶~¶-----END RSA PRIVATE KEY-----
-----BEGIN PRIVATE KEY-----¶~¶~¶~¶-----END PRIVATE KEY-----
-----BEGIN EC PRIVATE KEY-----¶~¶-----END EC PRIVATE KEY-----
-----BEGIN DSA PRIVATE KEY-----¶~¶~¶-----END DSA PRIVATE KEY-----
-----BEGIN ENCRYPTED PRIVATE KEY-----¶~¶~¶-----END ENCRYPTED PRIVATE KEY-----
-----BEGIN OPENSSH PRIVATE KEY-----¶~¶~¶~¶-----END OPENSSH PRIVATE KEY-----
-----BEGIN RSA PRIVATE KEY-----¶Proc-Type: 4,ENCRYPTED¶DEK-Info: AES-256-CBC,0123456789ABCDEF¶¶~¶~¶-----END RSA PRIVATE KEY-----
-----BEGIN PGP PRIVATE KEY BLOCK-----¶¶~¶~¶=abcd¶-----END PGP PRIVATE KEY BLOCK-----
-----BEGIN PGP PRIVATE KEY BLOCK-----¶Version: GnuPG v2.2.40 (GNU/Linux)¶Comment: https://example.com/ <x>¶¶~¶~¶-----END PGP PRIVATE KEY BLOCK-----
---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----¶Comment: "rsa-key-20260101"¶~¶~¶---- END SSH2 ENCRYPTED PRIVATE KEY ----
key: |¶  -----BEGIN PRIVATE KEY-----¶  ~¶  ~¶  -----END PRIVATE KEY-----¶next: 1
+-----BEGIN RSA PRIVATE KEY-----¶+~¶+~¶+-----END RSA PRIVATE KEY-----
-  -----BEGIN RSA PRIVATE KEY-----¶-  ~¶-  ~¶-  -----END RSA PRIVATE KEY-----
> -----BEGIN RSA PRIVATE KEY-----¶> ~¶> ~¶> -----END RSA PRIVATE KEY-----
# -----BEGIN RSA PRIVATE KEY-----¶# ~¶# ~¶# -----END RSA PRIVATE KEY-----
// -----BEGIN RSA PRIVATE KEY-----¶// ~¶// ~¶// -----END RSA PRIVATE KEY-----
 * -----BEGIN RSA PRIVATE KEY-----¶ * ~¶ * ~¶ * -----END RSA PRIVATE KEY-----
     1	-----BEGIN RSA PRIVATE KEY-----¶     2	~¶     3	~¶     4	-----END RSA PRIVATE KEY-----
| -----BEGIN RSA PRIVATE KEY----- |¶| ~ |¶| ~ |¶| -----END RSA PRIVATE KEY----- |
k = "-----BEGIN RSA PRIVATE KEY-----\n" +¶  "~\n" +¶  "~\n" +¶  "-----END RSA PRIVATE KEY-----\n";
`

func TestPrivateKeysInEveryArmour(t *testing.T) {
	e := engine(t, Config{})
	r := rand.New(rand.NewPCG(9, 10))
	for line := range strings.Lines(strings.TrimSpace(privateKeys)) {
		line = strings.TrimSuffix(line, "\n")
		var body []string
		for strings.Contains(line, "~") {
			body = append(body, corpus.Base64Line(r))
			line = strings.Replace(line, "~", body[len(body)-1], 1)
		}
		for _, eol := range []string{"\n", "\r\n"} {
			in := "before\n" + strings.ReplaceAll(line, "¶", eol) + eol + "after\n"
			out := whole(e, StreamOptions{}, in)
			for _, b := range body {
				if leak(out, b) {
					t.Errorf("%q is in\n%s", b, out)
				}
			}
			if !strings.HasSuffix(out, "after\n") || !strings.Contains(out, "END") || strings.Count(in, "\n") != strings.Count(out, "\n") || len(in) != len(out) {
				t.Errorf("what stands beside the key changed:\n%s\n%s", in, out)
			}
			everyCut(t, e, StreamOptions{}, in, out)
		}
	}
}
