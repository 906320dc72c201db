// Package certs turns what an OpenID Connect provider says about somebody into certificates that
// live for minutes, and checks those certificates when they come back.
//
// [Verifier] takes ID tokens of any number of issuers and gives an [Identity]. [Authority] holds the
// keys of four certification authorities and signs for users, for the gate as a host, for the gate
// as a client of its targets, and for the keys that sign recordings. [UserChecker] is the whole of
// what a client's certificate must satisfy at the gate's front door. [Handler] is the HTTP side:
// a token and a public key in, a certificate out.
//
// Three promises hold throughout. A certificate for the gate opens no target, because gate and
// targets trust different keys. What is not understood is refused: an algorithm, a claim of the
// wrong type, a critical option, a key file that others may read. And no token, key or claim that
// was not proved appears in an error or in the log.
package certs
