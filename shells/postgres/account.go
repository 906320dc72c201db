package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// An account is the operator's login in one database: it makes and drops the roles of sessions, and reads
// the catalog. One statement runs at a time.
type account struct {
	config *pgconn.Config

	mu     sync.Mutex
	conn   *pgconn.PgConn // nil until it is needed, and after it broke
	closed bool
}

// in returns the account in a database.
func (t *Target) in(database string) (*account, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errors.New("the target is closed")
	}
	a := t.admins[database]
	if a == nil {
		c := t.admin.Copy()
		c.Database = database
		if c.RuntimeParams == nil {
			c.RuntimeParams = map[string]string{}
		}
		c.RuntimeParams["application_name"] = "sallyport"
		c.RuntimeParams["search_path"] = "pg_catalog"
		a = &account{config: c}
		t.admins[database] = a
	}
	return a, nil
}

// run runs statements, in a transaction of their own if they are several, and hands each result to each,
// which may be nil. A connection that has broken meanwhile is made anew, once.
func (a *account) run(ctx context.Context, text string, each func(*pgconn.Result)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("the target is closed")
	}
	fresh := a.conn == nil || a.conn.IsClosed()
	err := a.try(ctx, text, each)
	var pg *pgconn.PgError
	if err != nil && !fresh && !errors.As(err, &pg) && ctx.Err() == nil {
		err = a.try(ctx, text, each)
	}
	return err
}

func (a *account) try(ctx context.Context, text string, each func(*pgconn.Result)) error {
	if a.conn == nil || a.conn.IsClosed() {
		c, err := pgconn.ConnectConfig(ctx, a.config)
		if err != nil {
			return fmt.Errorf("log in as %q: %w", a.config.User, err)
		}
		a.conn = c
	}
	results, err := a.conn.Exec(ctx, text).ReadAll()
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
		if each != nil {
			each(r)
		}
	}
	return nil
}

func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = a.conn.Close(ctx) // the server ends it by itself
	}
}

// rolePrefix begins the names of roles that this gate makes for this target, so that what it finds after a
// crash is its own.
func rolePrefix(gate, target string) string {
	h := sha256.Sum256([]byte(gate + "\x00" + target))
	return "sallyport_" + hex.EncodeToString(h[:4]) + "_"
}

// loginWithin is how long the password, or the certificate, of a session can be used; it then goes on without.
const loginWithin = time.Minute

// mint makes what a session logs in with: as a rule a role that can log in once, for a minute, and acts as
// login. A password never leaves this process but as a SCRAM verifier (RFC 5803), so that the server's log
// cannot have it.
func (t *Target) mint(ctx context.Context, database, login string) (*minted, error) {
	if t.c.Credential == CredentialLogin {
		m := &minted{name: login, login: login}
		return m, t.certify(ctx, m)
	}
	a, err := t.in(database)
	if err != nil {
		return nil, err
	}
	m := &minted{name: t.role + strings.ToLower(rand.Text()[:20]), login: login, account: a}
	proof := ""
	if t.c.Credential == CredentialCertificate {
		err = t.certify(ctx, m)
	} else {
		proof, err = m.choosePassword()
	}
	if err != nil {
		return nil, err
	}
	role, as := pgx.Identifier{m.name}.Sanitize(), pgx.Identifier{login}.Sanitize()
	err = a.run(ctx, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN CONNECTION LIMIT 1 %[3]s IN ROLE %[2]s;
		ALTER ROLE %[1]s SET role = %[4]s`, role, as, proof, quote(login)), nil)
	if err != nil {
		return nil, fmt.Errorf("make a role for the session: %w", err)
	}
	return m, nil
}

// choosePassword gives m a password, and returns how CREATE ROLE says it.
func (m *minted) choosePassword() (string, error) {
	m.password = rand.Text()
	verifier, err := scramVerifier(m.password)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("PASSWORD '%s' VALID UNTIL '%s'", verifier, time.Now().Add(loginWithin).UTC().Format(time.RFC3339)), nil
}

// drop removes the role, when its session has ended. What it came to own goes to the role it acted as.
func (m *minted) drop(ctx context.Context) error {
	if m.account == nil {
		return nil
	}
	role := pgx.Identifier{m.name}.Sanitize()
	err := m.account.run(ctx, "DROP ROLE IF EXISTS "+role, nil)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "2BP01" { // dependent_objects_still_exist
		as := pgx.Identifier{m.login}.Sanitize()
		err = m.account.run(ctx, fmt.Sprintf("REASSIGN OWNED BY %[1]s TO %[2]s; DROP OWNED BY %[1]s; DROP ROLE IF EXISTS %[1]s", role, as), nil)
	}
	if err != nil {
		return fmt.Errorf("drop the role of the session: %w", err)
	}
	return nil
}

// Sweep ends the sessions and drops the roles that a former life of this gate left on the server. Roles of
// sessions that run now are left alone.
func (t *Target) Sweep(ctx context.Context) error {
	a, err := t.in(t.c.Databases[0])
	if err != nil {
		return err
	}
	var left []string
	err = a.run(ctx, `SELECT rolname FROM pg_roles WHERE starts_with(rolname, `+quote(t.role)+`)`, func(r *pgconn.Result) {
		for _, row := range r.Rows {
			left = append(left, string(row[0]))
		}
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var failed error
	for _, name := range left {
		if t.uses(name) {
			continue
		}
		m := &minted{name: name, login: t.c.Logins[0], account: a}
		// Ending a backend takes a moment; a role can be dropped while its last one still ends.
		err := a.run(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = `+quote(name), nil)
		if failed = errors.Join(failed, err, m.drop(ctx)); failed == nil {
			t.c.Log.Info("role of a former session dropped", "target", t.c.Name, "role", name)
		}
	}
	return failed
}

func (t *Target) uses(role string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sessions {
		if s.role == role {
			return true
		}
	}
	return false
}

// quote is s as a literal, whatever standard_conforming_strings is.
func quote(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(q, `\`) {
		return `E'` + strings.ReplaceAll(q, `\`, `\\`) + `'`
	}
	return `'` + q + `'`
}

// scramIterations is PostgreSQL's default.
const scramIterations = 4096

// scramVerifier is what the server stores instead of password: SCRAM-SHA-256, RFC 5803 in PostgreSQL's
// form. Password is ASCII, so SASLprep does nothing to it.
func scramVerifier(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
