package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"
)

// maxBody bounds a request for a certificate: a token, an RSA key and its signature, twice over.
const maxBody = 64 << 10

// HandlerOptions of [NewHandler].
type HandlerOptions struct {
	Verifier  *Verifier
	Authority *Authority
	// Login is what GET /v1/login answers; with an empty Issuer, clients are told that this gate has
	// no sign-in for people.
	Login LoginInfo
	// GateNames are where clients reach the gate by SSH: host:port.
	GateNames []string
	// HostPatterns are the known_hosts patterns whose host certificates the gate's CA may sign: the
	// gate's names and those of the targets reached through it by ProxyJump.
	HostPatterns []string
	// Log gets a line for every certificate given and refused. nil: slog.Default().
	Log *slog.Logger
	// Rate and Burst limit requests of one source; 0: two a second, thirty at once.
	Rate  float64
	Burst int
}

// LoginInfo is what `sallyport login` needs to find the issuer.
type LoginInfo struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
}

// A CertificateRequest is the body of POST /v1/certificates.
type CertificateRequest struct {
	Token         string   `json:"token,omitempty"` // or in Authorization: Bearer
	PublicKey     string   `json:"public_key"`      // one line of a .pub file
	Proof         string   `json:"proof"`           // [Prove]
	SourceAddress []string `json:"source_address,omitempty"`
	TTL           string   `json:"ttl,omitempty"` // a Go duration: 10m
}

// A CertificateAnswer is the answer to it.
type CertificateAnswer struct {
	Certificate string    `json:"certificate"` // one line, for a -cert.pub file
	Expires     time.Time `json:"expires"`
	Serial      string    `json:"serial"` // hexadecimal
	KeyID       string    `json:"key_id"`
	Principal   string    `json:"principal"`
	KnownHosts  []string  `json:"known_hosts"` // @cert-authority lines
	Gates       []string  `json:"gates"`       // host:port
}

// A CAAnswer is the answer to GET /v1/ca. Keys are lines as in a .pub file.
type CAAnswer struct {
	UserCA     []string `json:"user_ca"`     // signs the certificates of users
	TargetCA   []string `json:"target_ca"`   // for TrustedUserCAKeys on targets
	HostCA     []string `json:"host_ca"`     // signs the certificates of the gate
	KnownHosts []string `json:"known_hosts"` // @cert-authority lines
	RecordRoot string   `json:"record_root"` // PEM, for verifying recordings
}

// An ErrorAnswer is the body of every error.
type ErrorAnswer struct {
	Error   Reason `json:"error"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

type handler struct {
	HandlerOptions
	sources sourceLimit
}

// NewHandler serves POST /v1/certificates, GET /v1/ca and GET /v1/login. The server around it must
// have timeouts; TLS is its business as well.
func NewHandler(o HandlerOptions) (http.Handler, error) {
	if o.Verifier == nil || o.Authority == nil {
		return nil, errors.New("certificates by HTTP: verifier and authority are needed")
	}
	if len(o.HostPatterns) == 0 {
		return nil, errors.New("certificates by HTTP: name the hosts that clients may take the gate's certificate for")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Rate == 0 {
		o.Rate = 2
	}
	if o.Burst == 0 {
		o.Burst = 30
	}
	h := &handler{HandlerOptions: o, sources: sourceLimit{limit: rate.Limit(o.Rate), burst: o.Burst}}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/certificates", h.method(http.MethodPost, h.certificates))
	mux.HandleFunc("/v1/ca", h.method(http.MethodGet, h.ca))
	mux.HandleFunc("/v1/login", h.method(http.MethodGet, h.login))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, refuse(ErrNotFound, "", "no such path"))
	})
	return mux, nil
}

func (h *handler) method(m string, f func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != m && (r.Method != http.MethodHead || m != http.MethodGet) {
			w.Header().Set("Allow", m)
			h.fail(w, r, refuse(ErrMethod, "", "use %s", m))
			return
		}
		if !h.sources.allow(r.RemoteAddr) {
			w.Header().Set("Retry-After", "10")
			h.fail(w, r, refuse(ErrRate, "wait ten seconds", "too many requests from your address"))
			return
		}
		answer, err := f(w, r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		reply(w, http.StatusOK, answer)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // an error here means the client is gone
}

// fail answers an error, and logs it with more than the client is told.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var te *TokenError
	if !errors.As(err, &te) {
		te = &TokenError{Reason: ErrInternal, Message: "the gate could not make a certificate", Hint: "its operator's log says why", Err: err}
	}
	level := slog.LevelWarn
	if te.Reason == ErrInternal {
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("client", r.RemoteAddr), slog.String("path", r.URL.Path), slog.String("reason", string(te.Reason)),
		slog.String("message", te.Message)}
	if te.Issuer != "" {
		attrs = append(attrs, slog.String("issuer", te.Issuer))
	}
	if te.Err != nil {
		attrs = append(attrs, slog.String("cause", te.Err.Error()))
	}
	h.Log.LogAttrs(r.Context(), level, "certificate refused", attrs...)
	if te.Reason == ErrUnreachable {
		w.Header().Set("Retry-After", "5")
	}
	reply(w, status(te.Reason), ErrorAnswer{Error: te.Reason, Message: te.Message, Hint: te.Hint})
}

func status(r Reason) int {
	switch r {
	case ErrRequest, ErrProof, ErrPublicKey:
		return http.StatusBadRequest
	case ErrTooLarge:
		return http.StatusRequestEntityTooLarge
	case ErrUnreachable:
		return http.StatusServiceUnavailable
	case ErrRate:
		return http.StatusTooManyRequests
	case ErrMethod:
		return http.StatusMethodNotAllowed
	case ErrContentType:
		return http.StatusUnsupportedMediaType
	case ErrNotFound:
		return http.StatusNotFound
	case ErrInternal:
		return http.StatusInternalServerError
	}
	return http.StatusUnauthorized
}

// certificates makes one. The proof is checked before the token, because that asks nobody else.
func (h *handler) certificates(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := readRequest(w, r)
	if err != nil {
		return nil, err
	}
	key, err := parsePublicKey(req.PublicKey)
	if err != nil {
		return nil, err
	}
	o, err := h.userOptions(req)
	if err != nil {
		return nil, err
	}
	if err := checkProof(req.Proof, req.Token, key); err != nil {
		return nil, err
	}
	id, _, err := h.Verifier.Verify(r.Context(), req.Token)
	if err != nil {
		return nil, err
	}
	if _, err := id.encode(); err != nil {
		return nil, &TokenError{Reason: ErrClaims, Message: err.Error()}
	}
	cert, err := h.Authority.SignUser(r.Context(), id, key, o)
	if err != nil {
		return nil, err
	}
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "certificate issued", slog.String("client", r.RemoteAddr), slog.String("identity", id.Key()),
		slog.String("name", id.String()), slog.String("kind", id.Kind), slog.String("serial", fmt.Sprintf("%x", cert.Serial)),
		slog.String("key", ssh.FingerprintSHA256(key)), slog.Time("expires", time.Unix(int64(cert.ValidBefore), 0)))
	return h.answer(cert), nil
}

func (h *handler) answer(cert *ssh.Certificate) CertificateAnswer {
	return CertificateAnswer{
		Certificate: keyLine(cert), Expires: time.Unix(int64(cert.ValidBefore), 0).UTC(), Serial: fmt.Sprintf("%x", cert.Serial),
		KeyID: cert.KeyId, Principal: cert.ValidPrincipals[0], KnownHosts: h.knownHosts(), Gates: h.GateNames,
	}
}

func readRequest(w http.ResponseWriter, r *http.Request) (CertificateRequest, error) {
	var req CertificateRequest
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return req, refuse(ErrContentType, "send Content-Type: application/json", "the body is not JSON")
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return req, refuse(ErrTooLarge, "", "the request is larger than %d bytes", maxBody)
	}
	if err != nil || dec.Decode(&struct{}{}) != io.EOF {
		return req, refuse(ErrRequest, "its fields are token, public_key, proof, source_address and ttl", "the body is not one JSON object of known fields")
	}
	return req, bearer(&req, r.Header.Values("Authorization"))
}

// bearer takes the token from the header if it is not in the body. In both it would be unclear which
// one was proved.
func bearer(req *CertificateRequest, auth []string) error {
	if len(auth) > 1 || len(auth) == 1 && req.Token != "" {
		return refuse(ErrRequest, "", "send one token, in the body or in Authorization")
	}
	if len(auth) == 1 {
		scheme, token, ok := strings.Cut(auth[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return refuse(ErrRequest, "", "Authorization is not a Bearer token")
		}
		req.Token = token
	}
	if req.Token == "" {
		return refuse(ErrRequest, "send an ID token in token, or as Authorization: Bearer", "there is no token")
	}
	return nil
}

func (h *handler) userOptions(req CertificateRequest) (UserOptions, error) {
	o := UserOptions{SourceAddress: req.SourceAddress}
	if _, err := sourceAddress(req.SourceAddress); err != nil {
		return o, &TokenError{Reason: ErrRequest, Message: err.Error()}
	}
	if req.TTL == "" {
		return o, nil
	}
	d, err := time.ParseDuration(req.TTL)
	if limit := h.Authority.options.MaxValidity; err != nil || d < time.Minute || d > limit {
		return o, refuse(ErrRequest, "", "ttl must be a duration from 1m to %v, such as 10m", limit)
	}
	o.Validity = d
	return o, nil
}

func (h *handler) ca(http.ResponseWriter, *http.Request) (any, error) {
	return CAAnswer{
		UserCA: keyLines(h.Authority.UserCA()), TargetCA: keyLines(h.Authority.TargetCA()), HostCA: keyLines(h.Authority.HostCA()),
		KnownHosts: h.knownHosts(), RecordRoot: string(encodeCertificate(h.Authority.RecordRoot())),
	}, nil
}

func (h *handler) login(http.ResponseWriter, *http.Request) (any, error) {
	if h.Login.Issuer == "" {
		return nil, refuse(ErrNotFound, "ask its operator for the issuer, and use --issuer", "this gate names no issuer for people")
	}
	return h.Login, nil
}

func (h *handler) knownHosts() []string { return KnownHosts(h.HostPatterns, h.Authority.HostCA()) }

// KnownHosts gives the lines by which a client's known_hosts trusts host keys for names that match
// the patterns.
func KnownHosts(patterns []string, hostCA []ssh.PublicKey) []string {
	lines := make([]string, len(hostCA))
	for i, k := range keyLines(hostCA) {
		lines[i] = "@cert-authority " + strings.Join(patterns, ",") + " " + k
	}
	return lines
}

func keyLine(k ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(k)), "\n")
}

func keyLines(keys []ssh.PublicKey) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = keyLine(k)
	}
	return out
}
