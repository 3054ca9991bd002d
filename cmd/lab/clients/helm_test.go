package clients

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
)

// helmScenes keep releases of the chart of the demonstration.
func helmScenes() []scene {
	return []scene{
		{"a release's whole life", func(a *actor) {
			a.chart()
			a.ok("helm version", `v4\.`)
			a.ok("helm lint chart", `1 chart\(s\) linted, 0 chart\(s\) failed`)
			a.ok("helm install life chart --set message='one day' --wait --timeout 50s", `^STATUS: deployed$`, `^REVISION: 1$`)
			a.ok("helm status life", `^NAME: life$`, `^STATUS: deployed$`)
			a.ok("helm list", `^life\s+`+a.namespace()+`\s+1\s+.*deployed\s+greeting-1\.0\.0`)
			a.page("life", `^one day$`)
			a.ok("kubectl get deployment life-greeting", `^life-greeting +2/2 `)
			a.ok("helm upgrade life chart --set message='another day' --set replicas=3 --wait --timeout 50s", `^REVISION: 2$`, `deployed`)
			a.page("life", `^another day$`)
			a.ok("kubectl get deployment life-greeting", `^life-greeting +3/3 `)
			a.ok("helm history life", `^1\s+.*superseded`, `^2\s+.*deployed`)
			a.ok("helm get values life", `message: another day`, `replicas: 3`)
			a.ok("helm get manifest life", `kind: Deployment`)
			a.ok("helm rollback life 1 --wait --timeout 50s", `Rollback was a success`)
			a.page("life", `^one day$`)
			a.ok("helm history life", `^3\s+.*deployed\s+.*Rollback to 1`)
			a.ok("helm uninstall life --wait --timeout 50s", `release "life" uninstalled`)
			a.no("helm status life", `release: not found`)
			a.soon("kubectl get all,configmaps -l app.kubernetes.io/instance=life", `No resources found`)
			a.ok("kubectl get secrets", `!helm.release`)
		}},
		{"template, dry run and install by upgrade", func(a *actor) {
			a.chart()
			a.ok("helm template seen chart --set message=printed", `^kind: Deployment$`, `printed`, `seen-greeting`)
			a.ok("helm template seen chart | kubectl apply --dry-run=server -f -", `deployment.apps/seen-greeting created \(server dry run\)`)
			a.ok("helm install dry chart --dry-run=server", `STATUS: pending-install`)
			a.no("helm status dry", `not found`)
			a.ok("helm upgrade --install both chart --set replicas=1 --wait --timeout 50s", `^REVISION: 1$`)
			a.ok("helm upgrade --install both chart --set replicas=1,message=x --reuse-values", `^REVISION: 2$`)
			a.ok("helm list -A -o json", `"name":"both"`, `"status":"deployed"`)
			a.ok("helm test both --timeout 30s", `(?i)test suite: +none|succeeded|both`)
			a.ok("helm uninstall both")
		}},
		{"what cannot be", func(a *actor) {
			a.chart()
			a.ok("helm install held chart --set replicas=1 --wait --timeout 50s")
			a.no("helm install held chart", `cannot reuse a name that is still in use|cannot re-use a name`)
			a.no("helm upgrade absent chart", `"absent" has no deployed releases`)
			a.no("helm upgrade held chart --set replicas=none", `(?i)replicas`)
			a.no("helm install bad chart --set image=registry.invalid/no/such:1 --wait --timeout 8s", `(?i)deadline|timed out|not ready`)
			a.ok("helm list --failed", `^bad\s`)
			a.no("helm upgrade held chart --set image=registry.invalid/no/such:1 --rollback-on-failure --wait --timeout 8s", `(?i)rolled back`)
			a.soon("kubectl get deployment held-greeting -o jsonpath='{.spec.template.spec.containers[0].image}'", `^busybox:1$`)
			a.page("held", `^Hello from Orpheus$`)
			a.ok("helm uninstall held bad", `release "bad" uninstalled`)
		}},
		{"somebody else's field", func(a *actor) {
			a.chart()
			a.ok("helm install field chart --set replicas=1 --wait --timeout 50s")
			a.ok("kubectl scale deployment field-greeting --replicas=2")
			a.no("helm upgrade field chart --set replicas=1,message=y --server-side=true", `conflict.*spec\.replicas`)
			a.ok("helm upgrade field chart --set replicas=1,message=y --server-side=true --force-conflicts --wait --timeout 50s", `deployed`)
			a.ok("kubectl get deployment field-greeting", `^field-greeting +1/1 `)
			a.ok("helm uninstall field")
		}},
	}
}

// chart writes the chart into the scene's directory.
func (a *actor) chart() {
	a.t.Helper()
	sub, err := fs.Sub(demo.Chart, "chart")
	check(a.t, err)
	check(a.t, os.CopyFS(filepath.Join(a.dir, "chart"), sub))
}

// page reads what the release's service answers, at its cluster address, from the client's host.
func (a *actor) page(release, want string) {
	a.t.Helper()
	a.soon("curl -sS --max-time 5 http://$(kubectl get service "+release+"-greeting -o jsonpath='{.spec.clusterIP}')/", want)
}
