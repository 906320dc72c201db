package events

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// A mapper turns rows of the ledger into events.
type mapper struct{ version string }

func (m mapper) begin(kind, uid, gate string, at time.Time) *event {
	e := &event{
		Time: at.UnixMilli(),
		Metadata: metadata{
			Version: SchemaVersion, UID: uid, LogName: "sallyport-audit", LogProvider: gate, EventCode: kind,
			Product: product{Name: "Sallyport", VendorName: "Sallyport", Version: m.version}, Profiles: []string{"host", "security_control"},
		},
	}
	e.informational()
	e.succeeded()
	return e
}

// operation is one decision.
func (m mapper) operation(x ledger.ExportedOperation) *event {
	o, s := x.Operation, x.Session
	e := m.begin(o.Action, "operation-"+o.ID, s.Gate, o.Time)
	e.of(s)
	e.subject(o, s)
	e.decided(o.Decision)
	switch o.Decision {
	case "deny":
		e.failed()
		e.medium()
	case "hold":
		e.low()
	}
	e.StatusDetail = o.Outcome
	e.Message = fmt.Sprintf("%s: %s on %s by %s", map[string]string{"allow": "allowed", "deny": "denied", "hold": "held"}[o.Decision], o.Action, s.Target, who(s.Identity))
	e.Unmapped = map[string]any{"decision": o.Decision, "policy": o.Policy, "target": s.Target, "target_kind": s.TargetKind}
	if e.Process == nil && e.File == nil && e.QueryInfo == nil {
		e.more("text", o.Text)
	}
	e.more("text_cut", x.Cut)
	e.more("hold", o.HoldID)
	if times, ok := o.Facts["times"].(int64); ok { // the row stands for like ones, too
		e.Count = times
	}
	e.more("login", s.Login)
	return e
}

// subject gives e the class of what was decided on.
func (e *event) subject(o ledger.Operation, s ledger.Session) {
	kind, verb, _ := strings.Cut(o.Action, ":")
	switch kind {
	case "session":
		e.is(classSSH, map[string]activity{"allow": {1, "Open"}, "deny": {5, "Refuse"}}[o.Decision])
		if o.Decision == "hold" || verb != "open" {
			e.is(classSSH, other(verb))
		}
		e.AuthType, e.AuthTypeID = "Certificate Based", 1
	case "command":
		e.is(classProcess, activity{1, "Launch"})
		e.Process = &process{CmdLine: o.Text, UID: o.ID}
		if s.Login != "" {
			e.Process.User = &user{Name: s.Login}
		}
		e.Dst, e.Session = nil, nil // the class has no place for them; the actor's session has
	case "file":
		e.is(classFile, fileActivity(verb))
		e.File = &file{Name: cmp.Or(path.Base(o.Text), "-"), Path: o.Text, TypeID: 1}
		e.Src, e.Dst, e.Session = nil, nil, nil
	case "forward":
		e.is(classTunnel, activity{1, "Open"})
		e.TunnelType, e.TunnelID = "SSH forward", 99
	case "sql":
		e.is(classDatastore, activity{4, "Query"})
		e.Database, e.QueryInfo = &database{Name: cmp.Or(s.Target, "-"), TypeID: 1}, &queryInfo{QueryString: o.Text}
		e.Session = nil
	default:
		e.is(classAPI, apiActivity(verb))
		e.API = &api{Operation: o.Action, Service: &named{Name: cmp.Or(s.Target, "-")}}
		e.Session = nil
	}
	if kind == "command" {
		e.Src = nil
	}
}

func fileActivity(verb string) activity {
	switch verb {
	case "read":
		return activity{2, "Read"}
	case "write":
		return activity{3, "Update"}
	case "remove":
		return activity{4, "Delete"}
	case "rename":
		return activity{5, "Rename"}
	case "attributes":
		return activity{6, "Set Attributes"}
	}
	return other(cmp.Or(verb, "file"))
}

func apiActivity(verb string) activity {
	switch verb {
	case "get", "list", "watch", "view", "viewed", "followed":
		return activity{2, "Read"}
	case "create", "give", "given":
		return activity{1, "Create"}
	case "update", "patch", "answered":
		return activity{3, "Update"}
	case "delete", "deletecollection", "kill", "purged", "revoke", "revoked":
		return activity{4, "Delete"}
	}
	return other(cmp.Or(verb, "other"))
}

// of says whose session something happened in.
func (e *event) of(s ledger.Session) {
	session := &sessionObject{UID: s.ID, CreatedTime: s.Started.UnixMilli(), Issuer: s.Identity.Issuer, IsRemote: true}
	e.Actor = &actor{User: userOf(s.Identity), Session: session}
	if s.OnBehalfOf != nil {
		e.Actor.InvokedBy = who(*s.OnBehalfOf)
	}
	e.Src = endpointOf(s.ClientAddr)
	e.Dst = &endpoint{Name: cmp.Or(s.Target, "-"), SvcName: s.TargetKind}
	e.Device = &device{Name: cmp.Or(s.Target, "-"), Type: "Server", TypeID: 1}
	e.Metadata.Correlation = s.ConnectionID
}

func userOf(i ledger.Identity) *user {
	u := &user{Name: cmp.Or(i.Name, i.Subject), UID: i.Key(), Email: i.Email, Type: "User", TypeID: 1}
	if i.Kind == "agent" {
		u.Type, u.TypeID = "Agent", 99
	}
	for _, g := range i.Groups {
		u.Groups = append(u.Groups, named{Name: g})
	}
	return u
}

// who names an identity for people.
func who(i ledger.Identity) string { return cmp.Or(i.Email, i.Name, i.Subject) }

func endpointOf(addr string) *endpoint {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return &endpoint{IP: ap.Addr().Unmap().String(), Port: int(ap.Port())}
	}
	if a, err := netip.ParseAddr(addr); err == nil {
		return &endpoint{IP: a.Unmap().String()}
	}
	return &endpoint{Name: cmp.Or(addr, "unknown")}
}

// more adds what OCSF has no place for, where there is any.
func (e *event) more(name string, v any) {
	switch v {
	case "", false, int64(0), nil:
		return
	}
	if e.Unmapped == nil {
		e.Unmapped = map[string]any{}
	}
	e.Unmapped[name] = v
}

// seal is the end of a session, or a recording that was removed on purpose.
func (m mapper) seal(x ledger.ExportedSeal) *event {
	s, seal := x.Session, x.Seal
	e := m.begin("session.sealed", "seal-"+strconv.FormatInt(seal.N, 10), s.Gate, seal.At)
	e.of(s)
	e.is(classSSH, activity{2, "Close"})
	e.StartTime, e.EndTime = s.Started.UnixMilli(), seal.At.UnixMilli()
	e.Duration = max(0, e.EndTime-e.StartTime)
	e.Traffic = &traffic{BytesOut: s.BytesOut}
	e.Session = nil
	e.StatusDetail = s.EndReason
	e.Message = fmt.Sprintf("session of %s on %s ended: %s; recording %s", who(s.Identity), s.Target, s.EndReason, seal.State)
	switch seal.State {
	case ledger.Purged:
		e.is(classSSH, other("Purge"))
		e.Message = fmt.Sprintf("recording of the session of %s on %s was purged", who(s.Identity), s.Target)
		e.Metadata.EventCode = "recording.purged"
		e.low()
	case ledger.Recovered:
		e.medium()
	case ledger.Truncated:
		e.failed()
		e.high()
	}
	e.Unmapped = map[string]any{"state": string(seal.State), "seal": hex.EncodeToString(seal.Hash), "link": hex.EncodeToString(seal.Link),
		"number": seal.N, "operations": s.Operations, "denied": s.Denied, "held": s.Held, "masked": s.Masked, "kind": s.Kind}
	e.more("signal", s.ExitSignal)
	if s.ExitStatus != nil {
		e.Unmapped["exit_status"] = *s.ExitStatus
	}
	return e
}

// certificate is a user's, who proved who they are for it.
func (m mapper) certificate(x ledger.ExportedCertificate) *event {
	c := x.Certificate
	e := m.begin("certificate.issued", "certificate-"+strconv.FormatInt(x.N, 10), "", c.Issued)
	e.is(classAuthentication, activity{3, "Authentication Ticket"})
	e.User = &user{Name: cmp.Or(c.Name, c.Principal), UID: c.IdentityKey, TypeID: 0, Type: "Unknown"}
	e.Service = &named{Name: "sallyport"}
	e.Protocol, e.ProtocolID = "OpenID", 4
	e.Certificate = &certificate{
		Serial: c.Serial, Issuer: "Sallyport user authority", Subject: c.Principal, Created: c.ValidFrom.UnixMilli(), Expiration: c.ValidTo.UnixMilli(),
		Fingerprints: []fingerprint{{"SHA-256", 3, c.Fingerprint}},
	}
	e.Message = fmt.Sprintf("certificate %s issued to %s until %s", c.Serial, e.User.Name, c.ValidTo.UTC().Format(time.RFC3339))
	return e
}

// audit is something done to the gate or to the evidence.
func (m mapper) audit(x ledger.Event) *event {
	e := m.begin(x.Kind, "audit-"+strconv.FormatInt(x.N, 10), x.Gate, x.At)
	who := &user{Name: x.ActorName, UID: x.Actor, Type: "Unknown", TypeID: 0}
	if who.Name == "" && who.UID == "" {
		who.Name = "nobody who is known"
	}
	e.Actor = &actor{User: who}
	e.Src = endpointOf(x.Source)
	verb := x.Kind[strings.LastIndexAny(strings.TrimSuffix(x.Kind, ".denied"), ".:")+1:]
	switch {
	case strings.HasPrefix(x.Kind, "console.signin"):
		e.is(classAuthentication, activity{1, "Logon"})
		e.User, e.Service = who, &named{Name: "sallyport console"}
	case strings.HasPrefix(x.Kind, "session:open"):
		e.is(classSSH, activity{5, "Refuse"})
		e.Dst = &endpoint{Name: cmp.Or(x.Target, "-")}
	default:
		e.is(classAPI, apiActivity(strings.TrimSuffix(verb, ".denied")))
		e.API = &api{Operation: x.Kind, Service: &named{Name: cmp.Or(x.Gate, "sallyport")}}
	}
	e.Message = fmt.Sprintf("%s by %s", x.Kind, cmp.Or(x.ActorName, x.Actor, "somebody at "+x.Source))
	if x.Denied {
		e.failed()
		e.medium()
		e.decided("deny")
	}
	if x.Count > 1 {
		e.Count, e.StartTime, e.EndTime = x.Count, x.At.UnixMilli(), x.Last.UnixMilli()
	}
	e.more("session", x.SessionID)
	e.more("target", x.Target)
	if len(x.Detail) > 0 {
		e.more("detail", clip(x.Detail))
	}
	return e
}

// clip bounds the texts of a detail.
func clip(detail map[string]any) map[string]any {
	out := make(map[string]any, len(detail))
	for k, v := range detail {
		if s, ok := v.(string); ok && len(s) > ledger.ExportText {
			v = strings.ToValidUTF8(s[:ledger.ExportText], "") + "…"
		}
		out[k] = v
	}
	return out
}
