package kube

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// A status is the API machinery's own form of an error (k8s.io/apimachinery, metav1.Status).
type status struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   struct{} `json:"metadata"`
	Status     string   `json:"status"`
	Message    string   `json:"message"`
	Reason     string   `json:"reason,omitempty"`
	Details    *details `json:"details,omitempty"`
	Code       int      `json:"code"`
}

type details struct {
	Name   string  `json:"name,omitempty"`
	Group  string  `json:"group,omitempty"`
	Kind   string  `json:"kind,omitempty"`
	Causes []Cause `json:"causes,omitempty"`
}

// A Cause says for programs what a refusal says for people. Errors that have some return them by a method Causes.
type Cause struct {
	Reason  string `json:"reason"` // Sallyport and what it is: SallyportRequest (id of what waits), SallyportPolicy
	Message string `json:"message"`
}

var reasons = map[int]string{
	http.StatusBadRequest: "BadRequest", http.StatusForbidden: "Forbidden", http.StatusRequestEntityTooLarge: "RequestEntityTooLarge",
	http.StatusUnsupportedMediaType: "UnsupportedMediaType", http.StatusBadGateway: "InternalError", http.StatusNotAcceptable: "NotAcceptable",
}

// refuse answers with a Status that kubectl prints as the server's own word.
func refuse(w http.ResponseWriter, code int, r *kube.Request, message string, causes ...Cause) {
	s := status{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: "sallyport: " + message, Reason: reasons[code], Code: code}
	if r != nil && r.Resource != "" {
		s.Details = &details{Name: r.Name, Group: r.Group, Kind: r.Resource, Causes: causes}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(s)
}

// public is what may be shown of err.
func public(err error) string {
	var p interface{ PublicText() string }
	if errors.As(err, &p) {
		return p.PublicText()
	}
	return "it went wrong here; the gate's log says why"
}

func causes(err error) []Cause {
	var c interface{ Causes() []Cause }
	if errors.As(err, &c) {
		return c.Causes()
	}
	return nil
}

// codeOf is the HTTP status that says err.
func codeOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return http.StatusBadGateway
	}
	return http.StatusForbidden
}
