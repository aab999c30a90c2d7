"""The templates of the report, for Jinja."""

HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>secateur: {{ title }}</title>
<style>
  :root { color-scheme: light; --ink: #1d2329; --soft: #5b6670; --line: #e3e7eb; --accent: #2a6f4e; --loss: #a8442f; }
  body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; color: var(--ink);
         max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
  h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
  .sub { color: var(--soft); margin-top: 0; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
  th:first-child, td:first-child { text-align: left; }
  thead th { color: var(--soft); font-weight: 600; }
  td.change { color: var(--accent); font-weight: 600; } td.worse { color: var(--loss); }
  figure { margin: 1rem 0; } figure img { width: 100%; height: auto; }
  figcaption { color: var(--soft); font-size: .9rem; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; } dt { color: var(--soft); }
  dd { margin: 0; } pre { background: #f6f8f9; padding: 1rem; overflow-x: auto; font-size: .85rem; }
  details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); }
</style>
</head>
<body>
<h1>{{ title }}, pruned</h1>
<p class="sub">What was removed, what it cost, and what it gained: every number was measured in this run.</p>
<table>
<thead><tr><th></th><th>dense</th><th>pruned</th><th>change</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.name }}</td><td>{{ row.dense }}</td><td>{{ row.pruned }}</td>
<td class="{{ 'change worse' if row.worse else 'change' }}">{{ row.change }}</td></tr>
{% endfor %}
</tbody>
</table>
{% for target, reason in skipped.items() %}
<p class="sub">Not measured: {{ target }}: {{ reason }}</p>
{% endfor %}
{% for sentence in narrowed %}
<p class="sub">{{ sentence }}</p>
{% endfor %}
<h2>How</h2>
<dl>
{% for name, phrase in facts %}
<dt>{{ name }}</dt><dd>{{ phrase }}</dd>
{% endfor %}
</dl>
{% for name, image in images.items() %}
<h2>{{ titles[name] }}</h2>
<figure><img alt="{{ captions[name] }}" src="data:image/png;base64,{{ image }}">
<figcaption>{{ captions[name] }}</figcaption></figure>
{% endfor %}
{% if soles %}
<details><summary>Units of the dense model that serve one class alone</summary>
<p class="sub">Among the first tenth of their kind for that class, and in the lower half for every other one.</p>
<table>
<thead><tr><th>class</th><th>units</th><th>which</th></tr></thead>
<tbody>
{% for name, count, units in soles %}
<tr><td>{{ name }}</td><td>{{ count }}</td><td>{{ units }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
{% for table in tables %}
<details><summary>{{ table.title }}</summary>
<p class="sub">{{ table.said }}</p>
<table>
<thead><tr>{% for word in table.heads %}<th>{{ word }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</details>
{% endfor %}
<details><summary>Every pruned group</summary>
<table>
<thead><tr><th>group</th><th>kind</th><th>dense</th><th>kept</th></tr></thead>
<tbody>
{% for name, kind, units, left in layers %}
<tr><td>{{ name }}</td><td>{{ kind }}</td><td>{{ units }}</td><td>{{ left }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
<details><summary>Machine and versions</summary>
<pre>{% for key, value in environment.items() %}{{ key }}: {{ value }}
{% endfor %}</pre>
</details>
<details><summary>Recipe</summary><pre>{{ recipe }}</pre></details>
</body>
</html>
"""

MARKDOWN = """# {{ title }}, pruned

| | dense | pruned | change |
|---|---:|---:|---:|
{% for row in rows %}
| {{ row.name }} | {{ row.dense }} | {{ row.pruned }} | {{ row.change }} |
{% endfor %}

{% for target, reason in skipped.items() %}
Not measured: {{ target }}: {{ reason }}

{% endfor %}
{% for sentence in narrowed %}
{{ sentence }}

{% endfor %}
{% for name, phrase in facts %}
* {{ name }}: {{ phrase }}
{% endfor %}

{% for name, caption in captions.items() %}
![{{ caption }}](figures/{{ name }}.png)

{% endfor %}
{% if soles %}
| class | units that serve it alone | which |
|---|---:|---|
{% for name, count, units in soles %}
| {{ name }} | {{ count }} | {{ units }} |
{% endfor %}

{% endif %}
{% for table in tables %}
{{ table.said }}

|{% for word in table.heads %} {{ word }} |{% endfor %}

{{ table.rule }}
{% for row in table.rows %}
|{% for cell in row %} {{ cell }} |{% endfor %}

{% endfor %}

{% endfor %}
| group | kind | dense | kept |
|---|---|---:|---:|
{% for name, kind, units, left in layers %}
| {{ name }} | {{ kind }} | {{ units }} | {{ left }} |
{% endfor %}
"""
