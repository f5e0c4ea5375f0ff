{{/* Each of these takes a dict of `root` and `name`, the service's. */}}

{{- define "envoy-sidecars.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: envoy-sidecars
{{- end }}

{{- define "envoy-sidecars.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "envoy-sidecars.labels" . | nindent 2 }}
{{- end }}

{{- define "envoy-sidecars.port" -}}
{{- get (dict "authz" 9191 "ratelimit" 8081 "tap" 9393) .name }}
{{- end }}

{{- define "envoy-sidecars.adminPort" -}}
{{- get (dict "authz" 9192 "ratelimit" 8080) .name }}
{{- end }}

{{- define "envoy-sidecars.health" -}}
{{- get (dict
  "authz" "envoy.service.auth.v3.Authorization"
  "ratelimit" "envoy.service.ratelimit.v3.RateLimitService"
  "tap" "envoy.service.extension.v3.ExtensionConfigDiscoveryService") .name }}
{{- end }}

{{- define "envoy-sidecars.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "envoy-sidecars.container" -}}
{{- $values := index .root.Values .name -}}
name: {{ .name }}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- toYaml (concat .args $values.args) | nindent 2 }}
env:
  - name: SERVICE
    value: {{ .name }}
ports:
  - name: grpc
    containerPort: {{ include "envoy-sidecars.port" . }}
  {{- with include "envoy-sidecars.adminPort" . }}
  - name: admin
    containerPort: {{ . }}
  {{- end }}
startupProbe:
  grpc: &probe
    port: {{ include "envoy-sidecars.port" . }}
    service: {{ include "envoy-sidecars.health" . }}
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  grpc: *probe
  periodSeconds: 2
livenessProbe:
  grpc:
    port: {{ include "envoy-sidecars.port" . }}
  periodSeconds: 10
  failureThreshold: 3
  timeoutSeconds: 3
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if eq .name "tap" }}
  - name: data
    mountPath: /data
  {{- else }}
  - name: {{ .name }}
    mountPath: /etc/{{ .name }}
    readOnly: true
  {{- end }}
{{- end }}
