package linux

import (
	"fmt"

	"github.com/google/nftables"
)

// checkForward looks for base chains of others that drop forwarded packets by policy, as Docker's does. No rule of ours can overrule
// them: a packet must be accepted by every chain of its hook. So it is told, with the way out.
func (p *Plane) checkForward() error {
	c, err := p.table.dial()
	if err != nil {
		return err
	}
	chains, err := c.ListChains()
	if err != nil {
		p.table.hangUp()
		return fmt.Errorf("list chains: %w", err)
	}
	var found []string
	for _, k := range chains {
		if k.Hooknum == nil || *k.Hooknum != *nftables.ChainHookForward || k.Policy == nil || *k.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if k.Table.Family != nftables.TableFamilyIPv4 && k.Table.Family != nftables.TableFamilyINet {
			continue
		}
		found = append(found, fmt.Sprintf("chain %s of table %s drops forwarded packets by policy, those of pods too: run dockerd with --iptables=false, or accept the pod network there, or `iptables -P FORWARD ACCEPT`", k.Name, k.Table.Name))
	}
	p.warn(ofForward, found)
	return nil
}
