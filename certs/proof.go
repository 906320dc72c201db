package certs

import (
	"bytes"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// ProofNamespace is the namespace of proofs of possession, as in ssh-keygen -Y sign -n.
const ProofNamespace = "certificate@sallyport"

// Prove signs a token with the key that a certificate is asked for, as
//
//	printf %s "$TOKEN" | ssh-keygen -Y sign -f id -n certificate@sallyport
//
// does, and gives the signature in armor (OpenSSH's PROTOCOL.sshsig).
func Prove(token string, key ssh.Signer) (string, error) {
	sig, err := sshsig.Sign(strings.NewReader(token), key, sshsig.HashSHA512, ProofNamespace)
	if err != nil {
		return "", err
	}
	return string(sshsig.Armor(sig)), nil
}

const proofHint = "sign exactly the token's bytes, without a newline: printf %s \"$TOKEN\" | ssh-keygen -Y sign -f KEY -n " + ProofNamespace

// checkProof holds a proof to the token and the key. Without it, somebody could have a certificate
// made for a key of somebody else's, and have that person be taken for them.
func checkProof(proof, token string, key ssh.PublicKey) error {
	sig, err := sshsig.Unarmor([]byte(proof))
	if err != nil {
		return refuse(ErrProof, proofHint, "the proof is not a signature made by ssh-keygen -Y sign")
	}
	if !bytes.Equal(sig.PublicKey.Marshal(), key.Marshal()) {
		return refuse(ErrProof, proofHint, "the proof was made with another key than public_key")
	}
	if sig.Namespace != ProofNamespace {
		return refuse(ErrProof, proofHint, "the proof was made for another namespace than %s", ProofNamespace)
	}
	if err := sshsig.Verify(strings.NewReader(token), sig, key, sig.HashAlgorithm, ProofNamespace); err != nil {
		return refuse(ErrProof, proofHint, "the proof does not hold for this token")
	}
	return nil
}

// parsePublicKey reads one line of an id.pub.
func parsePublicKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, refuse(ErrPublicKey, "send the one line of a .pub file", "public_key is not an SSH public key")
	}
	if err := CheckUserKey(key); err != nil {
		return nil, &TokenError{Reason: ErrPublicKey, Message: err.Error()}
	}
	return key, nil
}
