package mask

import "golang.org/x/sys/cpu"

// probing says that this processor can probe: AVX-512 with VBMI, which Intel has since Ice Lake and AMD since Zen 4.
var probing = cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VBMI

// see looks at as many blocks from b[0] on as there is room for in out. Three bytes have to follow them.
func (p *probe) see(b []byte, out []blockMarks) {
	if len(out) == 0 {
		return
	}
	_ = b[:len(out)*probeBlock+3]
	probeVBMI(p, &b[0], len(out), &out[0])
}

// probeVBMI is see for the n blocks at p; n is above 0.
//
//go:noescape
func probeVBMI(t *probe, p *byte, n int, out *blockMarks)
