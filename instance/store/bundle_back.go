package store

import "slices"

// WayBack is where one signature may go from the bundle in force.
type WayBack struct {
	Targets   []string // digests, the nearest first
	Withdrawn []string // digests that were taken off; two officers bring one back, one does not
}

// Pile is the bundles that came into force, one on top of the other. A rollback
// takes off what lies above the one it goes to: it never goes forward.
type Pile struct {
	layers    []layer // the last is in force
	withdrawn []string
}

type layer struct {
	digest string
	proven bool
}

// Add puts the next activation on the pile, the oldest first. What has no proof
// takes nothing off and is nothing to go back to: whoever wrote it down has no
// say in where officers go from it.
func (p *Pile) Add(a Activation, proven bool) {
	if !proven || a.Kind != ActivationRollback {
		at := slices.Index(p.layers, layer{a.Digest, true})
		if proven && at >= 0 { // two officers went back: what lies above is taken off
			p.takeOff(at + 1)
			p.layers = p.layers[:at]
		}
		p.layers = append(p.layers, layer{a.Digest, proven})
		if proven { // officers or the product put it in force, whatever was withdrawn before
			p.withdrawn = slices.DeleteFunc(p.withdrawn, func(digest string) bool { return digest == a.Digest })
		}
		return
	}
	to := len(p.layers) - 2
	for to >= 0 && p.layers[to].digest != a.Digest {
		to--
	}
	if to < 0 { // forward, as earlier versions let it: in force, and withdrawn all the same
		p.layers = append(p.layers, layer{a.Digest, proven})
		return
	}
	p.takeOff(to + 1)
}

// takeOff withdraws the layers from one on.
func (p *Pile) takeOff(from int) {
	for _, l := range p.layers[from:] {
		if !slices.Contains(p.withdrawn, l.digest) {
			p.withdrawn = append(p.withdrawn, l.digest)
		}
	}
	p.layers = p.layers[:from]
}

// WayBack says where a rollback may go now.
func (p *Pile) WayBack() WayBack {
	w := WayBack{Withdrawn: slices.Clone(p.withdrawn)}
	for i := len(p.layers) - 2; i >= 0; i-- {
		l, top := p.layers[i], p.layers[len(p.layers)-1]
		if l.proven && (l.digest != top.digest || !top.proven) && !slices.Contains(w.Withdrawn, l.digest) && !slices.Contains(w.Targets, l.digest) {
			w.Targets = append(w.Targets, l.digest)
		}
	}
	return w
}
