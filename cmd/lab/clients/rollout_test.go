package clients

import "strings"

// named puts a name into a manifest.
func named(manifest, name string) string { return strings.ReplaceAll(manifest, "NAME", name) }

// rolloutScenes change what runs, step by step and back.
func rolloutScenes() []scene {
	return []scene{
		{"rollout status, history, undo and restart", func(a *actor) {
			a.apply("d", named(web, "roll"))
			a.ok("kubectl rollout status deployment/roll --timeout=60s", `deployment "roll" successfully rolled out`)
			a.ok("kubectl annotate deployment/roll kubernetes.io/change-cause=first")
			a.ok("kubectl set image deployment/roll httpd=busybox:2 && kubectl annotate deployment/roll kubernetes.io/change-cause=second --overwrite", `image updated`)
			a.ok("kubectl rollout status deployment/roll --timeout=60s", `successfully rolled out`)
			a.soon("kubectl rollout history deployment/roll", `^REVISION +CHANGE-CAUSE$`, `^1 +first$`, `^2 +second$`)
			a.ok("kubectl rollout history deployment/roll --revision=2", `Image:\s+busybox:2`)
			a.ok("kubectl rollout undo deployment/roll", `deployment.apps/roll rolled back`)
			a.ok("kubectl rollout status deployment/roll --timeout=60s")
			a.ok("kubectl get deployment roll -o jsonpath='{.spec.template.spec.containers[0].image}'", `^busybox:1$`)
			a.soon("kubectl rollout history deployment/roll", `^3 +first$`, `!^1 `)
			a.ok("kubectl rollout undo deployment/roll --to-revision=2", `rolled back`)
			a.ok("kubectl rollout status deployment/roll --timeout=60s")
			a.soon("kubectl get pods -l app=roll -o jsonpath='{.items[*].spec.containers[0].image}'", `^busybox:2 busybox:2$`)
			a.no("kubectl rollout undo deployment/roll --to-revision=77", `unable to find specified revision 77 in history`)
			a.ok("kubectl rollout restart deployment/roll", `deployment.apps/roll restarted`)
			a.ok("kubectl rollout status deployment/roll --timeout=60s")
			a.soon("kubectl get pods -l app=roll -o yaml", `kubectl.kubernetes.io/restartedAt`)
			a.ok("kubectl delete deployment roll --wait=false")
		}},
		{"rollout pause and resume", func(a *actor) {
			a.apply("d", named(web, "paused"))
			a.ok("kubectl rollout status deployment/paused --timeout=60s")
			a.ok("kubectl rollout pause deployment/paused", `deployment.apps/paused paused`)
			a.ok("kubectl set image deployment/paused httpd=busybox:2")
			a.no("kubectl rollout status deployment/paused --timeout=2s", `(?i)waiting for deployment "paused" rollout to finish: 0 out of 2|timed out`)
			a.ok("kubectl get replicasets -l app=paused -o name | wc -l", `^1$`)
			a.ok("kubectl rollout resume deployment/paused", `resumed`)
			a.ok("kubectl rollout status deployment/paused --timeout=60s", `successfully rolled out`)
			a.soon("kubectl get pods -l app=paused -o jsonpath='{.items[*].spec.containers[0].image}'", `^busybox:2 busybox:2$`)
			a.ok("kubectl delete deployment paused --wait=false")
		}},
		{"a rollout that cannot succeed keeps what runs", func(a *actor) {
			a.apply("d", named(web, "stuck"))
			a.ok("kubectl rollout status deployment/stuck --timeout=60s")
			a.ok(`kubectl patch deployment stuck -p '{"spec":{"progressDeadlineSeconds":3,"strategy":{"rollingUpdate":{"maxUnavailable":0}}}}'`)
			a.ok("kubectl set image deployment/stuck httpd=busybox:2 && kubectl set env deployment/stuck X=y && kubectl patch deployment stuck --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/template/spec/containers/0/readinessProbe/httpGet/path\",\"value\":\"/absent\"}]'")
			a.code(1, "kubectl rollout status deployment/stuck --timeout=50s", `deployment "stuck" exceeded its progress deadline`)
			a.ok("kubectl get deployment stuck", `^stuck +2/2 +1 +2 `)
			a.ok("kubectl rollout undo deployment/stuck && kubectl delete deployment stuck --wait=false")
		}},
		{"scale", func(a *actor) {
			a.apply("d", named(web, "scaled"))
			a.ok("kubectl scale deployment/scaled --replicas=4", `deployment.apps/scaled scaled`)
			a.ok("kubectl rollout status deployment/scaled --timeout=60s")
			a.soon("kubectl get deployment scaled", `^scaled +4/4 +4 +4 `)
			a.no("kubectl scale deployment/scaled --current-replicas=9 --replicas=1", `(?i)expected replicas to be 9, was 4`)
			a.ok("kubectl scale -f d.yaml --replicas=0", `scaled`)
			a.soon("kubectl get pods -l app=scaled", `No resources found`)
			a.ok("kubectl delete deployment scaled --wait=false")
		}},
		{"autoscale makes the object", func(a *actor) {
			a.apply("d", named(web, "auto"))
			a.ok("kubectl autoscale deployment auto --min=1 --max=3 --cpu-percent=80 || kubectl autoscale deployment auto --min=1 --max=3 --cpu=80%", `horizontalpodautoscaler.autoscaling/auto autoscaled`)
			a.ok("kubectl get hpa auto", `^auto +Deployment/auto +.*80% +1 +3 `)
			a.ok("kubectl delete hpa,deployment auto --wait=false")
		}},
		{"rollouts of stateful and daemon sets", func(a *actor) {
			a.apply("s", named(sets, "set"))
			a.ok("kubectl rollout status statefulset/set --timeout=60s", `partitioned roll out complete|rolling update complete|statefulset rolling update complete`)
			a.ok("kubectl rollout status daemonset/set --timeout=60s", `daemon set "set" successfully rolled out`)
			a.ok("kubectl get pods -l app=set-s -o wide", `^set-0 +1/1 `, `^set-1 +1/1 `)
			a.ok("kubectl get pods -l app=set-d -o wide", ` c1 `, ` c2 `, ` c3 `)
			a.ok("kubectl set image statefulset/set main=busybox:2 && kubectl rollout status statefulset/set --timeout=60s")
			a.ok("kubectl set image daemonset/set main=busybox:2 && kubectl rollout status daemonset/set --timeout=60s")
			a.ok("kubectl rollout history statefulset/set", `^2 `)
			a.ok("kubectl rollout undo daemonset/set && kubectl rollout status daemonset/set --timeout=60s")
			a.soon("kubectl get pods -l app=set-d -o jsonpath='{.items[*].spec.containers[0].image}'", `^busybox:1 busybox:1 busybox:1$`)
			a.ok("kubectl delete -f s.yaml --wait=false")
		}},
	}
}

const sets = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: NAME}
spec:
  replicas: 2
  serviceName: NAME
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: NAME-s}}
  template:
    metadata: {labels: {app: NAME-s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME-d}}
  updateStrategy: {rollingUpdate: {maxUnavailable: 3}}
  template:
    metadata: {labels: {app: NAME-d}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
`
