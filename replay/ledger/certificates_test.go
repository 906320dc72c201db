package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func certificate(n int) ledger.Certificate {
	return ledger.Certificate{
		Serial: fmt.Sprint(18446744073709551600 + uint64(n)), Purpose: ledger.ForUser, IdentityKey: fmt.Sprintf("https://id.example#u%d", n%3),
		Name: "User", Principal: "u0", Fingerprint: fmt.Sprintf("SHA256:%043d", n), SessionID: "",
		ValidFrom: began.Add(time.Duration(n) * time.Minute), ValidTo: began.Add(time.Duration(n+15) * time.Minute),
		Issued: began.Add(time.Duration(n) * time.Minute),
	}
}

func TestCertificates(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		for n := range 10 {
			c := certificate(n)
			if n == 4 {
				c.Purpose, c.SessionID = ledger.ForTarget, session(1).ID
			}
			if err := l.AddCertificate(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, l.AddCertificate(ctx, certificate(1)), ledger.ErrExists)
		sameSerial := certificate(1)
		sameSerial.Purpose = ledger.ForRecorder // another authority
		if err := l.AddCertificate(ctx, sameSerial); err != nil {
			t.Error(err)
		}
		for _, bad := range []ledger.Certificate{
			{Purpose: ledger.ForUser, Fingerprint: "x"}, {Serial: "0x1", Purpose: ledger.ForUser, Fingerprint: "x"},
			{Serial: "007", Purpose: ledger.ForUser, Fingerprint: "x"}, {Serial: "1", Purpose: "lunch", Fingerprint: "x"},
			{Serial: "1", Purpose: ledger.ForUser}, {Serial: strings.Repeat("9", 65), Purpose: ledger.ForUser, Fingerprint: "x"},
		} {
			wantErr(t, l.AddCertificate(ctx, bad), ledger.ErrInvalid)
		}
		for _, tt := range []struct {
			name string
			f    ledger.CertificateFilter
			want int
		}{
			{"all", ledger.CertificateFilter{}, 11},
			{"serial", ledger.CertificateFilter{Serial: certificate(1).Serial}, 2},
			{"serial and purpose", ledger.CertificateFilter{Serial: certificate(1).Serial, Purpose: ledger.ForUser}, 1},
			{"fingerprint", ledger.CertificateFilter{Fingerprint: certificate(2).Fingerprint}, 1},
			{"identity", ledger.CertificateFilter{Identity: "https://id.example#u0"}, 4},
			{"session", ledger.CertificateFilter{SessionID: session(1).ID}, 1},
			{"valid at", ledger.CertificateFilter{ValidAt: began.Add(2 * time.Minute)}, 4},
			{"issued", ledger.CertificateFilter{Since: began.Add(3 * time.Minute), Until: began.Add(5 * time.Minute)}, 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.f.Limit = 3
				seen := map[ledger.Certificate]bool{}
				for {
					page, next, err := l.Certificates(ctx, tt.f)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range page {
						if seen[c] {
							t.Errorf("%s twice", c.Serial)
						}
						seen[c] = true
					}
					if tt.f.Cursor = next; next == "" {
						break
					}
				}
				if len(seen) != tt.want {
					t.Errorf("found %d, want %d", len(seen), tt.want)
				}
			})
		}
		got, _, err := l.Certificates(ctx, ledger.CertificateFilter{Fingerprint: certificate(2).Fingerprint})
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "certificate", got[0], certificate(2))
	})
}

func TestRevocations(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		later := began.Add(time.Hour)
		for _, r := range []ledger.Revocation{
			{Serial: "7", Reason: "stolen\x00laptop", By: "https://id.example#admin", At: began},
			{Fingerprint: "SHA256:bad", At: began},
			{IdentityKey: "https://id.example#mallory", At: began, Expires: later},
		} {
			if err := l.Revoke(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, l.Revoke(ctx, ledger.Revocation{At: began}), ledger.ErrInvalid)
		wantErr(t, l.Revoke(ctx, ledger.Revocation{Serial: "7"}), ledger.ErrInvalid)
		wantErr(t, l.Revoke(ctx, ledger.Revocation{Serial: "-7", At: began}), ledger.ErrInvalid)
		for _, tt := range []struct {
			name, serial, fingerprint, identity string
			now                                 time.Time
			want                                bool
		}{
			{"by serial", "7", "SHA256:good", "https://id.example#u1", began, true},
			{"by key", "8", "SHA256:bad", "https://id.example#u1", began, true},
			{"by identity", "8", "SHA256:good", "https://id.example#mallory", began, true},
			{"an identity that is free again", "8", "SHA256:good", "https://id.example#mallory", later, false},
			{"not", "8", "SHA256:good", "https://id.example#u1", began, false},
			{"a prefix", "77", "SHA256:bad2", "https://id.example#mallory2", began, false},
			{"nothing known", "", "", "", began, false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got, err := l.IsRevoked(ctx, tt.serial, tt.fingerprint, tt.identity, tt.now)
				if err != nil || got != tt.want {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if revoked, err := l.IsRevoked(gone, "8", "", "", began); err == nil || !revoked {
			t.Errorf("when nobody can tell: revoked %v, %v", revoked, err)
		}
		all, err := l.Revocations(ctx, 0)
		if err != nil || len(all) != 3 || all[0].Reason != `stolen\x00laptop` || !all[2].Expires.Equal(later) {
			t.Fatalf("%+v, %v", all, err)
		}
		if rest, err := l.Revocations(ctx, all[1].N); err != nil || len(rest) != 1 || rest[0] != all[2] {
			t.Errorf("%+v, %v", rest, err)
		}
	})
}
