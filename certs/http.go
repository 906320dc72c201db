package certs

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// HandlerOptions of [NewHandler].
type HandlerOptions struct {
	Verifier     *Verifier
	Authority    *Authority
	Login        LoginInfo
	GateNames    []string // names clients may dial
	HostPatterns []string // known_hosts patterns of the @cert-authority line
	Log          *slog.Logger
	MaxTTL       time.Duration
}

// LoginInfo is what `sallyport login` needs to find the issuer.
type LoginInfo struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
}

// NewHandler serves POST /v1/certificates, GET /v1/ca and GET /v1/login.
func NewHandler(o HandlerOptions) (http.Handler, error) { return nil, errors.New("unfinished") }
