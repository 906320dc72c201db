package sftp_test

import (
	"encoding/binary"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

// wire makes a packet of a type byte, numbers (uint32, uint64) and strings.
func wire(kind byte, fields ...any) sftp.Packet {
	p := []byte{0, 0, 0, 0, kind}
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			p = binary.BigEndian.AppendUint32(p, uint32(f))
		case uint64:
			p = binary.BigEndian.AppendUint64(p, f)
		case string:
			p = binary.BigEndian.AppendUint32(p, uint32(len(f)))
			p = append(p, f...)
		case raw:
			p = append(p, f...)
		default:
			panic("unknown type of field")
		}
	}
	binary.BigEndian.PutUint32(p, uint32(len(p)-4))
	return p
}

// raw is bytes without a length.
type raw string
