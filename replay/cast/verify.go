package cast

import (
	"crypto/x509"
	"io"
)

// VerifyOptions say what a recording is held against.
type VerifyOptions struct {
	Roots   *x509.CertPool // whom to trust; nil: the signatures are checked, not who made them
	Session string         // the session it must be of; "": whichever it says
	Hash    string         // the seal's hash as the ledger has it; "": not known
}

// Report is what [Verify] found.
type Report struct {
	State   State  `json:"state"`
	Why     string `json:"why,omitempty"` // what is wrong, "" when nothing is
	Session string `json:"session,omitempty"`
	Trusted bool   `json:"trusted"` // the keys were certified under the given roots
	Sealed  bool   `json:"sealed"`
	Live    bool   `json:"live,omitempty"` // still being written by the gate that was asked
	Seal    *Seal  `json:"seal,omitempty"`

	Size        int64  `json:"size"`        // bytes looked at
	Lines       int    `json:"lines"`       // lines looked at
	Counts      Counts `json:"counts"`      // as found, up to the first damage
	Checkpoints uint64 `json:"checkpoints"` // that hold

	SignedUntil  int64 `json:"signed_until"`            // offset up to which every byte is vouched for
	OwnUntil     int64 `json:"own_until"`               // the same, by the session's own key
	BadOffset    int64 `json:"bad_offset,omitempty"`    // first byte that is not vouched for, or is wrong
	BadLine      int   `json:"bad_line,omitempty"`      // its line
	BadUntil     int64 `json:"bad_until,omitempty"`     // the damage begins before this offset
	DroppedBytes int64 `json:"dropped_bytes,omitempty"` // cut off by the gate that recovered it
}

// OK says that nothing is missing or changed. A recording that was recovered is whole.
func (r Report) OK() bool { return r.State == Complete || r.State == Recovered }

// Verify checks a whole recording against its signatures. It needs only public keys. An error means that
// nothing was decided: r could not be read.
func Verify(r io.Reader, o VerifyOptions) (Report, error) {
	return verify(r, o)
}

func verify(r io.Reader, o VerifyOptions) (Report, error) { return Report{}, io.ErrUnexpectedEOF }
