package clients

import "context"

// restore puts a host back into service after the scene, whatever came of it.
func (a *actor) restore() {
	a.t.Cleanup(func() {
		a.ctx = context.WithoutCancel(a.ctx)
		a.run("kubectl uncordon $THIRD; kubectl taint nodes $THIRD mood-; kubectl label node $THIRD disk-; kubectl delete poddisruptionbudget guard --ignore-not-found")
		a.run("kubectl delete deployment drained budgeted --ignore-not-found --wait=false; kubectl delete pod kept-out driven-out fended-off choosy bare --ignore-not-found --grace-period=1 --timeout=20s")
	})
}

// nodeScenes take hosts out of service and back. They play alone: other scenes' pods would feel them.
func nodeScenes() []scene {
	return []scene{
		{"cordon and uncordon", func(a *actor) {
			a.restore()
			a.ok("kubectl cordon $THIRD", `node/`+a.third+` cordoned`)
			a.ok("kubectl cordon $THIRD", `already cordoned`)
			a.ok("kubectl get nodes", `^`+a.third+` +Ready,SchedulingDisabled `)
			a.apply("p", onHost("$THIRD", "kept-out"))
			a.soon("kubectl describe pod kept-out", `FailedScheduling .*1 node\(s\) were unschedulable`)
			a.ok("kubectl uncordon $THIRD", `node/`+a.third+` uncordoned`)
			a.ok("kubectl wait --for=condition=Ready pod/kept-out --timeout=30s", `condition met`)
			a.ok("kubectl delete pod kept-out --wait=false")
		}},
		{"taint", func(a *actor) {
			a.restore()
			a.apply("p", onHost("$THIRD", "driven-out"))
			a.ok("kubectl wait --for=condition=Ready pod/driven-out --timeout=30s")
			a.ok("kubectl taint nodes $THIRD mood=bad:NoSchedule", `node/`+a.third+` tainted`)
			a.no("kubectl taint nodes $THIRD mood=worse:NoSchedule", `already has mood taint`)
			a.apply("q", onHost("$THIRD", "fended-off"))
			a.soon("kubectl describe pod fended-off", `FailedScheduling .*1 node\(s\) had untolerated taint`)
			a.ok("kubectl get pod driven-out", `Running`)
			a.ok("kubectl taint nodes $THIRD mood=bad:NoExecute")
			a.ok("kubectl wait --for=delete pod/driven-out --timeout=30s")
			a.ok("kubectl taint nodes $THIRD mood-", `untainted`)
			a.ok("kubectl wait --for=condition=Ready pod/fended-off --timeout=30s")
			a.ok("kubectl delete pod fended-off --wait=false")
		}},
		{"label a node, and pods follow", func(a *actor) {
			a.restore()
			a.ok("kubectl create -f - <<E\napiVersion: v1\nkind: Pod\nmetadata: {name: choosy}\nspec:\n  nodeSelector: {disk: fast-$NS}\n  terminationGracePeriodSeconds: 1\n  containers: [{name: main, image: 'busybox:1', command: [sleep, '100000']}]\nE")
			a.soon("kubectl describe pod choosy", `FailedScheduling .*3 node\(s\) didn't match Pod's node affinity/selector`)
			a.ok("kubectl label node $THIRD disk=fast-$NS", `labeled`)
			a.ok("kubectl wait --for=condition=Ready pod/choosy --timeout=30s")
			a.ok("kubectl get pod choosy -o jsonpath='{.spec.nodeName}'", `^`+a.third+`$`)
			a.ok("kubectl label node $THIRD disk- && kubectl delete pod choosy --wait=false")
		}},
		{"drain", func(a *actor) {
			a.restore()
			a.apply("d", named(web, "drained"))
			a.ok("kubectl scale deployment/drained --replicas=4 && kubectl rollout status deployment/drained --timeout=60s")
			a.apply("b", onHost("$THIRD", "bare"))
			a.ok("kubectl wait --for=condition=Ready pod/bare --timeout=30s")
			a.no("kubectl drain $THIRD --pod-selector='app in (drained,bare)' --timeout=10s", `cannot delete Pods that declare no controller`, a.namespace()+`/bare`)
			a.ok("kubectl get pod bare", `Running`)
			a.ok("kubectl drain $THIRD --pod-selector='app in (drained,bare)' --force --ignore-daemonsets --delete-emptydir-data --timeout=50s", `evicting pod `+a.namespace()+`/bare`, `node/`+a.third+` drained`)
			a.ok("kubectl get pods -l 'app in (drained,bare)' --field-selector spec.nodeName=$THIRD", `No resources found`)
			a.ok("kubectl rollout status deployment/drained --timeout=60s")
			a.soon("kubectl get deployment drained", `^drained +4/4 `)
			a.ok("kubectl uncordon $THIRD", `uncordoned`)
			a.ok("kubectl delete deployment drained --wait=false")
		}},
		{"drain respects a disruption budget", func(a *actor) {
			a.restore()
			a.apply("d", named(web, "budgeted"))
			a.ok("kubectl patch deployment budgeted -p '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"kubernetes.io/hostname\":\"'$THIRD'\"}}}}}' && kubectl rollout status deployment/budgeted --timeout=60s")
			a.ok("kubectl create poddisruptionbudget guard --selector=app=budgeted --min-available=2")
			a.soon("kubectl get poddisruptionbudget guard", `^guard +2 +N/A +0 `)
			a.no("kubectl drain $THIRD --pod-selector=app=budgeted --timeout=8s", `Cannot evict pod as it would violate the pod's disruption budget`)
			a.ok("kubectl get pods -l app=budgeted -o name | wc -l", `^2$`)
			a.ok("kubectl delete poddisruptionbudget guard && kubectl uncordon $THIRD && kubectl delete deployment budgeted --wait=false")
		}},
	}
}

func onHost(host, name string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, labels: {app: ` + name + `}}
spec:
  nodeSelector: {kubernetes.io/hostname: ` + host + `}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
`
}
