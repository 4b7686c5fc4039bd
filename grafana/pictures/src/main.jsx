// A dashboard on its grid, drawn by Grafana's own components from its JSON and the answers to its queries. For photographs: nothing can be clicked.

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { createTheme, standardTransformers, standardTransformersRegistry, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { Content } from './panels.jsx';

const CELL = { width: 72, height: 30, gap: 8 };
const HEADER = 84;
const theme = createTheme({ colors: { mode: 'light' } });
const transformers = new Map(Object.values(standardTransformers).map((transformation) => [transformation.id, transformation]));
standardTransformersRegistry.setInit(() => [...transformers].map(([id, transformation]) => ({ id, name: transformation.name, transformation: async () => transformation })));

const { dashboard, panels, rows, variables, from, to } = await (await fetch('data.json')).json();
const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
const size = { width: 24 * CELL.width + CELL.gap, height: HEADER + bottom * (CELL.height + CELL.gap) + CELL.gap };

/** Where a panel is, in pixels. */
function place({ x, y, w, h }) {
  return {
    position: 'absolute',
    left: x * CELL.width + CELL.gap,
    top: HEADER + y * (CELL.height + CELL.gap),
    width: w * CELL.width - CELL.gap,
    height: h * (CELL.height + CELL.gap) - CELL.gap,
  };
}

function Header() {
  const label = { color: theme.colors.text.secondary, padding: '5px 8px', background: theme.colors.background.secondary, border: `1px solid ${theme.colors.border.weak}` };
  const value = { padding: '5px 8px', background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.medium}`, marginRight: 12 };
  return (
    <div style={{ position: 'absolute', left: 14, top: 10, fontSize: 14 }}>
      <div style={{ fontSize: 20, marginBottom: 10 }}>{dashboard.title}</div>
      <div style={{ display: 'flex' }}>
        {variables.map(([name, text]) => (
          <div key={name} style={{ display: 'flex' }}>
            <span style={label}>{name}</span>
            <span style={value}>{text}</span>
          </div>
        ))}
      </div>
    </div>
  );
}

function Row({ panel }) {
  return <div style={{ ...place(panel.gridPos), fontSize: 16, fontWeight: 500, paddingTop: 8, borderBottom: `1px solid ${theme.colors.border.weak}` }}>{panel.title}</div>;
}

function Panel({ panel }) {
  const { width, height, ...position } = place(panel.gridPos);
  return (
    <div style={{ ...position, width, height }}>
      <PanelChrome title={panel.title} width={width} height={height}>
        {(innerWidth, innerHeight) => <Content panel={panel} width={innerWidth} height={innerHeight} theme={theme} time={{ from, to, zone: dashboard.timezone === 'utc' ? 'utc' : 'browser' }} />}
      </PanelChrome>
    </div>
  );
}

// Components measure texts, so the font has to be there before they are drawn.
await Promise.all(['400', '500'].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
document.body.style.background = theme.colors.background.canvas;
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ position: 'relative', ...size }}>
      <Header />
      {dashboard.panels.map((panel) => (panel.type === 'row' ? <Row key={panel.id} panel={rows.find(({ id }) => id === panel.id)} /> : <Panel key={panel.id} panel={panels.find(({ id }) => id === panel.id)} />))}
    </div>
  </ThemeContext.Provider>,
);
