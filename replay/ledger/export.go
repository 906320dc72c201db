package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ExportText is how many characters of an operation's text go out with its event.
const ExportText = 8192

// exportPage is how many rows of one kind are exported at once.
const exportPage = 200

// An EventCursor is how far a sink of audit events has taken rows: the highest number of each kind.
type EventCursor struct{ Audit, Operations, Seals, Certificates int64 }

// TakeEvents makes holder the one who hands events to sink until the lease is over, and returns how far that
// sink is. It is ErrExists while another holder's lease lasts. A sink that is new begins at the beginning.
func (l *Ledger) TakeEvents(ctx context.Context, sink, holder string, now time.Time, lease time.Duration) (c EventCursor, err error) {
	err = l.atomically(ctx, func(t tx) error {
		_, err := t.exec(ctx, "INSERT INTO event_cursors (sink) VALUES ($1) ON CONFLICT (sink) DO NOTHING", sink)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, "UPDATE event_cursors SET holder = $2, held_until = $4 WHERE sink = $1 AND (holder = $2 OR held_until < $3)",
			sink, holder, micros(now), micros(now.Add(lease)))
		if err == nil && n == 0 {
			err = ErrExists
		}
		if err != nil {
			return err
		}
		return t.row(ctx, "SELECT audit, operations, seals, certificates FROM event_cursors WHERE sink = $1", []any{sink},
			&c.Audit, &c.Operations, &c.Seals, &c.Certificates)
	})
	return c, wrap("take events", err)
}

// EventsTaken stores how far sink is. It is ErrExists when another holder has taken over meanwhile.
func (l *Ledger) EventsTaken(ctx context.Context, sink, holder string, c EventCursor) error {
	n, err := l.exec(ctx, "UPDATE event_cursors SET audit = $3, operations = $4, seals = $5, certificates = $6 WHERE sink = $1 AND holder = $2",
		sink, holder, c.Audit, c.Operations, c.Seals, c.Certificates)
	if err == nil && n == 0 {
		err = ErrExists
	}
	return wrap("events taken", err)
}

// settled returns the highest number of a table up to which no row can appear any more. On PostgreSQL rows
// appear in the order of their transactions' ends, not of their numbers, so the writers under way are waited
// for, where there is anything new; that takes as long as the slowest of them.
func (l *Ledger) settled(ctx context.Context, table string, after int64) (upTo int64, err error) {
	highest := "SELECT coalesce(max(n), 0) FROM " + table
	if err := l.row(ctx, highest, nil, &upTo); err != nil || l.kind == inSQLite || upTo <= after {
		return upTo, err
	}
	err = l.atomically(ctx, func(t tx) error {
		for _, q := range []string{"SET LOCAL lock_timeout = '3s'", "LOCK TABLE " + table + " IN SHARE MODE"} {
			if _, err := t.exec(ctx, q); err != nil {
				return err
			}
		}
		return t.row(ctx, highest, nil, &upTo)
	})
	return upTo, err
}

// An ExportedOperation is an operation with what its session says of who and where.
type ExportedOperation struct {
	N         int64
	Operation Operation // Text has at most ExportText characters, Facts are left out
	Cut       bool      // Text was longer
	Session   Session   // identity, target, addresses and times
}

const sessionForExport = `s.id, s.connection_id, s.gate, s.issuer, s.subject, s.name, s.email, s.identity_kind, s.group_names,
	s.behalf, s.target, s.target_kind, s.login, s.kind, s.client_addr, s.started`

func (s *Session) scanForExport(groups, behalf *string, started *int64) []any {
	return []any{&s.ID, &s.ConnectionID, &s.Gate, &s.Identity.Issuer, &s.Identity.Subject, &s.Identity.Name, &s.Identity.Email,
		&s.Identity.Kind, groups, behalf, &s.Target, &s.TargetKind, &s.Login, &s.Kind, &s.ClientAddr, started}
}

func (s *Session) finishExport(groups, behalf string, started int64) error {
	s.Started = fromMicros(started)
	err := json.Unmarshal([]byte(groups), &s.Identity.Groups)
	if err == nil && behalf != "" {
		err = json.Unmarshal([]byte(behalf), &s.OnBehalfOf)
	}
	if err != nil {
		return fmt.Errorf("session %s: %w", s.ID, err)
	}
	return nil
}

// OperationsAfter returns the operations numbered above after, in the order they were stored, some hundred at
// most: what an exporter needs. No row with a lower number appears later.
func (l *Ledger) OperationsAfter(ctx context.Context, after int64) ([]ExportedOperation, error) {
	all, err := l.operationsAfter(ctx, after)
	return all, wrap("operations to export", err)
}

func (l *Ledger) operationsAfter(ctx context.Context, after int64) ([]ExportedOperation, error) {
	upTo, err := l.settled(ctx, "operations", after)
	if err != nil || upTo <= after {
		return nil, err
	}
	rows, err := l.query(ctx, `SELECT o.n, o.id, o.sequence, o.at, o.action, substr(o.text, 1, `+strconv.Itoa(ExportText)+`), length(o.text), o.decision,
		o.policy, o.hold_id, o.outcome, `+sessionForExport+` FROM operations o JOIN sessions s ON s.id = o.session_id
		WHERE o.n > $1 AND o.n <= $2 ORDER BY o.n LIMIT `+strconv.Itoa(exportPage), after, upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ExportedOperation
	for rows.Next() {
		var e ExportedOperation
		var at, started int64
		var length int
		var groups, behalf string
		o := &e.Operation
		dest := []any{&e.N, &o.ID, &o.Sequence, &at, &o.Action, &o.Text, &length, &o.Decision, &o.Policy, &o.HoldID, &o.Outcome}
		if err := rows.Scan(append(dest, e.Session.scanForExport(&groups, &behalf, &started)...)...); err != nil {
			return nil, err
		}
		o.SessionID, o.Time, e.Cut = e.Session.ID, fromMicros(at), length > ExportText
		if err := e.Session.finishExport(groups, behalf, started); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, named(rows.Err())
}

// An ExportedSeal is the end of a session, as its recording was sealed. Session is what the ledger has of it,
// which is nothing but the id where a recording outlived its session.
type ExportedSeal struct {
	Seal    Seal
	Session Session
}

// SealsToExport returns the seals numbered above after with their sessions, some hundred at most.
func (l *Ledger) SealsToExport(ctx context.Context, after int64) ([]ExportedSeal, error) {
	seals, err := l.sealsWhere(ctx, "n > $1 ORDER BY n LIMIT "+strconv.Itoa(exportPage), after)
	if err != nil {
		return nil, wrap("seals to export", err)
	}
	all := make([]ExportedSeal, len(seals))
	for i, s := range seals {
		all[i] = ExportedSeal{Seal: s, Session: Session{ID: s.SessionID}}
		session, err := l.Session(ctx, s.SessionID)
		switch {
		case err == nil:
			all[i].Session = session
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return all, nil
}

// An ExportedCertificate is a user's certificate that was issued.
type ExportedCertificate struct {
	N           int64
	Certificate Certificate
}

// CertificatesAfter returns the certificates of users numbered above after and up to upTo, which is where to go
// on from, in the order they were issued.
func (l *Ledger) CertificatesAfter(ctx context.Context, after int64) (all []ExportedCertificate, upTo int64, err error) {
	all, upTo, err = l.certificatesAfter(ctx, after)
	return all, upTo, wrap("certificates to export", err)
}

func (l *Ledger) certificatesAfter(ctx context.Context, after int64) (all []ExportedCertificate, upTo int64, err error) {
	if upTo, err = l.settled(ctx, "certificates", after); err != nil || upTo <= after {
		return nil, after, err
	}
	rows, err := l.query(ctx, `SELECT n, serial, identity_key, name, principal, fingerprint, valid_from, valid_to, issued FROM certificates
		WHERE n > $1 AND n <= $2 AND purpose = 'user' ORDER BY n LIMIT `+strconv.Itoa(exportPage), after, upTo)
	if err != nil {
		return nil, after, err
	}
	defer rows.Close()
	for rows.Next() {
		var e ExportedCertificate
		var from, to, issued int64
		c := &e.Certificate
		if err := rows.Scan(&e.N, &c.Serial, &c.IdentityKey, &c.Name, &c.Principal, &c.Fingerprint, &from, &to, &issued); err != nil {
			return nil, after, err
		}
		c.Purpose, c.ValidFrom, c.ValidTo, c.Issued = "user", fromMicros(from), fromMicros(to), fromMicros(issued)
		all = append(all, e)
	}
	if len(all) == exportPage {
		upTo = all[len(all)-1].N
	}
	return all, upTo, named(rows.Err())
}
